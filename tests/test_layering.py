"""The rooms' rule: registry knows nobody, runners and analysis never meet, and each service has one door."""

import ast
import shutil
import subprocess
import sys
from collections.abc import Collection
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOORS = {
    "mlflow": {"runners/tracking/mirror.py"},
    "optuna": {"runners/tuning/search.py", "runners/tuning/figures.py"},
    "duckdb": {"analysis/facts.py"},
    "huggingface_hub": {"runners/fetch/remote.py", "runners/hub.py"},
}
ALLOWED = {  # of xlift: what else it has, such as the front door, is not theirs
    "registry": {"xlift.registry"},
    "runners": {"xlift.registry", "xlift.runners"},
    "analysis": {"xlift.registry", "xlift.analysis"},
}
FORBIDDEN = {
    "registry": {"torch", "transformers", "numpy", "pandas"},
    "runners": {"duckdb", "pandas"},
    "analysis": {"torch", "transformers", "mlflow"},
}
FILES = [path.relative_to(ROOT) for room in ALLOWED for path in sorted((ROOT / room).rglob("*.py"))]


def by_name(node: ast.AST) -> bool:
    """Whether a module is imported by a text."""
    return isinstance(node, ast.Call) and any(way in ast.unparse(node.func) for way in ("import_module", "__import__", "Later"))


def imported(source: str, package: str) -> set[str]:
    """What of xlift, and which libraries, a source names, wherever in it: xlift.runners.run is `xlift.runners`."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) + "." if node.level else ""
            names += [f"{above}{node.module or ''}.{alias.name}".replace("..", ".") for alias in node.names]
        elif by_name(node):
            names += [str(argument.value) for argument in node.args if isinstance(argument, ast.Constant)]
    return {".".join(name.split(".")[:2]) if name.split(".")[0] == "xlift" else name.split(".")[0] for name in names}


@cache
def of(path: Path) -> set[str]:
    return imported((ROOT / path).read_text(encoding="utf-8"), "xlift." + ".".join(path.parent.parts))


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_room_imports_only_what_its_rule_allows(path):
    room = path.parts[0]
    assert not of(path) & FORBIDDEN[room]
    assert {name for name in of(path) if name.split(".")[0] == "xlift"} <= ALLOWED[room]


def modules() -> dict[str, Path]:
    """Every module of the rooms and of the front door, by its name."""
    front = [path.relative_to(ROOT) for path in (ROOT / "xlift").glob("*.py")]
    whole = [*front, *(Path("xlift") / path for path in FILES)]
    return {
        ".".join(path.with_suffix("").parts).removesuffix(".__init__"): ROOT / (path if path in front else Path(*path.parts[1:]))
        for path in whole
    }


def arrows(path: Path, known: Collection[str]) -> set[str]:
    """The modules that one names: at its head, inside functions, for types alone, or to be imported later."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            wholes = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {whole if whole in known else str(node.module) for whole in wholes}
        elif by_name(node):
            found |= {argument.value for argument in node.args if isinstance(argument, ast.Constant) and argument.value in known}
    return found & set(known)


def test_every_module_of_ours_that_is_named_is_there():
    """The type checker passes over what it does not find."""
    known = modules()
    for path in [*known.values(), *(ROOT / "tests").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            named += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert not [name for name in named if name.split(".")[0] == "xlift" and name not in known], path


def test_imports_make_no_circle():
    known = modules()
    graph = {name: arrows(path, known) - {name} for name, path in known.items()}
    assert {"xlift.registry.study", "xlift.registry.spec"} <= set().union(*graph.values())
    TopologicalSorter(graph).prepare()  # CycleError has the circle


def test_no_file_and_no_function_is_too_long_to_be_read_at_once():
    for path in modules().values():
        text = path.read_text(encoding="utf-8")
        functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        long = [node.name for node in functions if node.end_lineno - node.lineno >= 60]
        assert not long and text.count("\n") <= 450, f"{path}: {long or 'more than 450 lines'}"


@pytest.mark.parametrize("service", DOORS)
def test_a_service_has_one_door(service):
    assert {str(path) for path in FILES if service in of(path)} == DOORS[service]


@pytest.mark.parametrize(
    "planted",
    [
        "import xlift.runners.run",
        "from xlift.runners import run",
        "from xlift import runners",
        "from xlift.runners.tracking.mirror import Mirror as M",
        "def f():\n    from xlift.runners.kinds import KINDS",
        "from ...runners import run",
        "import importlib\nimportlib.import_module('xlift.runners')",
        "from xlift.runners.later import Later\nx = Later('xlift.runners.kinds')",
        "from xlift import studies",
        "from xlift import run",
        "import xlift",
        "import xlift.cli",
        "from ... import studies",
    ],
)
def test_a_planted_crossing_is_found(planted):
    found = {name for name in imported(planted, "xlift.analysis.mixed") if name.split(".")[0] == "xlift"}
    assert found and not found <= ALLOWED["analysis"]


def test_every_package_of_the_rooms_is_installed():
    import tomllib

    declared = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {"xlift." + ".".join(path.parent.parts) for path in FILES}
    assert found <= declared


@pytest.mark.parametrize("verb", [["--help"], ["check", "experiments/lab.yaml"], ["plan", "experiments/lab.yaml"]])
def test_light_verbs_import_nothing_heavy(verb):
    code = (
        f"import sys, xlift.cli\nsys.argv = ['xlift', *{verb!r}]\ntry:\n    xlift.cli.main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'transformers', 'mlflow', 'pandas', 'numpy', 'duckdb', 'statsmodels', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "command",
    [
        [str(Path(sys.executable).parent / "xlift"), "tasks"],
        [sys.executable, "-m", "xlift", "tasks"],
        [
            sys.executable,
            "-c",
            "import xlift.cli, xlift.analysis.paired, xlift.registry.plan, xlift.runners; print('lab-entail')",
        ],
    ],
    ids=["console script", "python -m xlift", "import xlift"],
)
def test_a_users_own_folders_of_the_same_names_are_not_imported(command, tmp_path):
    for name in ("analysis", "registry", "runners"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the user\\'s own')\n")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "lab-entail" in done.stdout, done.stderr


def test_of_two_checkouts_in_one_environment_each_imports_its_own_rooms(tmp_path):
    for room in ("xlift", "registry", "runners", "analysis"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    code = "import xlift, xlift.registry.stage as s, xlift.runners.later as r, xlift.analysis as a; print(*{m.__file__ for m in (xlift, s, r, a)})"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert all(Path(path).is_relative_to(tmp_path) for path in done.stdout.split()), done.stdout
