"""The rooms' rule: registry knows nobody, runners and analysis never meet, and each service has one door."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOORS = {
    "mlflow": {"runners/tracking/mirror.py"},
    "optuna": {"runners/tuning/search.py", "runners/tuning/figures.py"},
    "duckdb": {"analysis/facts.py"},
}
FORBIDDEN = {
    "registry": {"runners", "analysis", "cli", "torch", "transformers", "numpy", "pandas"},
    "runners": {"analysis", "cli", "duckdb", "pandas"},
    "analysis": {"runners", "cli", "torch", "transformers", "mlflow"},
}
FILES = [path.relative_to(ROOT) for room in FORBIDDEN for path in sorted((ROOT / room).rglob("*.py"))]


def imported(source: str, package: str) -> set[str]:
    """The rooms and libraries that a source names, wherever in it: xlift.runners.run is `runners`."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) + "." if node.level else ""
            names += [f"{above}{node.module or ''}.{alias.name}".replace("..", ".") for alias in node.names]
        elif (isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func)) or "__import__" in ast.unparse(node)[:10]:
            names += [str(argument.value) for argument in getattr(node, "args", []) if isinstance(argument, ast.Constant)]
    return {name.removeprefix("xlift.").split(".")[0] for name in names}


@cache
def of(path: Path) -> set[str]:
    return imported((ROOT / path).read_text(encoding="utf-8"), "xlift." + ".".join(path.parent.parts))


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_room_imports_only_what_its_rule_allows(path):
    assert not of(path) & FORBIDDEN[path.parts[0]]


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
    ],
)
def test_a_planted_crossing_is_found(planted):
    assert "runners" in imported(planted, "xlift.analysis.mixed")


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
        [sys.executable, "-c", "import xlift.cli, xlift.analysis.gains, xlift.registry.plan, xlift.runners; print('lab-entail')"],
    ],
    ids=["console script", "python -m xlift", "import xlift"],
)
def test_a_users_own_folders_of_the_same_names_are_not_imported(command, tmp_path):
    for name in ("analysis", "registry", "runners"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the user\\'s own')\n")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "lab-entail" in done.stdout, done.stderr
