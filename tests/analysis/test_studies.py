"""What each study in experiments/ can tell: its model, what was left out of it and why, and on how many models a verdict rests.

XLIFT_SNAPSHOTS=write makes tests/reference/studies.json anew: look at the difference.
"""

import json
import os
from pathlib import Path

import pytest

from xlift import studies
from xlift.analysis import facts, paired
from xlift.analysis.study import check, curve, estimands, telling
from xlift.analysis.study.bases import named
from xlift.analysis.study.primary import Primary, primary
from xlift.registry.findings import UserError
from xlift.registry.store import Store
from xlift.registry.table import TableStudy

ROOT = Path(__file__).parents[2] / "experiments"
STUDIES = [path for path in sorted(ROOT.rglob("*.yaml")) if "results" not in path.parts and path.name != "claims-phang2020.yaml"]
PINNED = Path(__file__).parents[1] / "reference" / "studies.json"


def told(path: Path, folder: Path) -> dict:
    study = studies.opened(path)
    card = study.card() if isinstance(study, TableStudy) else studies.plan_of(study, None, []).card()
    groups = check.planned_groups(card)
    found = {name: described(primary(name, rows, card.analysis)) for name, rows in groups.items()}
    if not groups and not isinstance(study, TableStudy):
        return {"verdicts": {}}  # baselines alone, of which there are no scores yet
    if not groups:  # scores alone
        studies.imported(study, Store(folder))
        scores = paired.scores(facts.connect(Store(folder), [card]), card.study)
        found = {group.name: described(group.primary) for group in curve.curves(scores, card.analysis)}
    settings = {name: check.planned_setting(name, rows, card.analysis)[1] for name, rows in groups.items()}
    asked = {name: (hypothesis.asked, hypothesis.group) for name, hypothesis in card.hypotheses.items()}
    return found | {
        "verdicts": {name: rests(text, settings[group or next(iter(settings))]) for name, (text, group) in asked.items()}
    }


def described(model: Primary) -> dict:
    slopes = {named(key): basis.refused or len(basis.models) for key, basis in model.bases.items()}
    return {"model": model.formula, "left out": list(model.left_out), "no slope": model.refused, "models behind a slope": slopes}


def rests(text: str, setting: telling.Setting) -> dict | str:
    try:
        found = telling.told(estimands.parse(text), setting)
    except UserError as error:
        return str(error)
    return {"models": len(found.models), "least": found.least, "notes": list(found.notes)}


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_what_a_study_can_tell_is_as_it_was(path, tmp_path):
    pinned = json.loads(PINNED.read_text(encoding="utf-8")) if PINNED.exists() else {}
    found, name = told(path, tmp_path / "store"), str(path.relative_to(ROOT))
    if os.environ.get("XLIFT_SNAPSHOTS") == "write":
        PINNED.write_text(
            json.dumps(pinned | {name: found}, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        return
    assert found == pinned[name]
