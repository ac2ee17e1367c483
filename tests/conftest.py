"""The files that take longest come first, so that two processes end together."""

LONGEST = (
    "test_cli.py",
    "test_readme.py",
    "test_users.py",
    "test_python.py",
    "test_report.py",
    "test_tracking.py",
    "test_run.py",
    "test_lab.py",
    "test_lab_artefacts.py",
)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))
