"""The files that take longest come first, so that two processes end together."""

LONGEST = (
    "test_readme.py",
    "test_cli.py",
    "test_report.py",
    "test_families.py",
    "test_told.py",
    "test_python.py",
    "test_published.py",
    "test_hub.py",
    "test_cases.py",
    "test_users.py",
    "test_lab.py",
    "test_kept.py",
    "test_lab_artefacts.py",
    "test_tracking.py",
    "test_names.py",
    "test_toy_kind.py",
    "test_text.py",
    "test_tuning.py",
    "test_weights.py",
    "test_run.py",
)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))
