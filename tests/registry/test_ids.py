"""The ids of every committed study are what they were: a change of the code that moves them says so in NUMBERS, and retires results.

XLIFT_SNAPSHOTS=write makes tests/reference/ids.json anew: look at the difference.
"""

import json
import os
from pathlib import Path

import pytest

from xlift.registry.findings import UserError
from xlift.registry.inputs import Inputs
from xlift.registry.manifest.load import load
from xlift.registry.plan import expand
from xlift.registry.spec import digest

ROOT = Path(__file__).parents[2]
PINNED = ROOT / "tests" / "reference" / "ids.json"
STUDIES = [*sorted((ROOT / "experiments").glob("*.yaml")), ROOT / "tests" / "reference" / "store-form-1" / "study.yaml"]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.name)
def test_stages_are_named_as_they_were(path):
    """How many stages a study has, those of trials too, and a digest of their ids in order."""
    try:
        plan = expand(study := load(path), Inputs(study))
    except UserError:  # leases alone, which other manifests extend
        return
    ids = [step.stage.id for step in (*plan.steps, *plan.builder.tried)]
    pinned = json.loads(PINNED.read_text())
    found = [len(ids), digest(ids)[:16]]
    if os.environ.get("XLIFT_SNAPSHOTS") == "write":
        PINNED.write_text(json.dumps(pinned | {path.name: found}, indent=1, sort_keys=True) + "\n")
    assert found == pinned.get(path.name)
