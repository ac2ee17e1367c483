"""The rooms' rule: registry knows nobody, runners and analysis never meet, and each service has one door."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOORS = {"mlflow": {"runners/tracking.py", "runners/ui.py"}, "duckdb": {"analysis/facts.py"}, "torch": None, "transformers": None}
FORBIDDEN = {"registry": {"runners", "analysis", "torch", "transformers", "numpy", "pandas"}, "runners": {"analysis", "duckdb", "pandas"},
             "analysis": {"runners", "torch", "transformers", "mlflow"}}
FILES = [path.relative_to(ROOT) for room in FORBIDDEN for path in sorted((ROOT / room).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_room_imports_only_what_its_rule_allows(path):
    assert not imported(path) & FORBIDDEN[path.parts[0]]


@pytest.mark.parametrize("service", [name for name, doors in DOORS.items() if doors])
def test_a_service_has_one_door(service):
    assert {str(path) for path in FILES if service in imported(path)} <= DOORS[service]


@pytest.mark.parametrize("verb", [["--help"], ["check", "experiments/quickstart.yaml"], ["plan", "experiments/quickstart.yaml"]])
def test_light_verbs_import_nothing_heavy(verb):
    code = f"import sys, xlift\nsys.argv = ['xlift', *{verb!r}]\ntry:\n    xlift.main()\nexcept SystemExit:\n    pass\n" \
           "print(sorted({'torch', 'transformers', 'mlflow', 'pandas', 'numpy', 'duckdb', 'statsmodels', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
