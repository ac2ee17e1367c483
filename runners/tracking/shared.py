"""The view of a study's runs that links open in MLflow's UI: columns to sort by, and one chart a target with all its languages.

MLflow keeps a shared view as a tag of the experiment, named by the key that the link carries; its content is the state of the UI.
"""

import json
from typing import Any

from xlift.registry.plan import Plan

KEY = "xlift"
TAG = f"mlflow.sharedViewState.{KEY}"
COLUMNS = ("params.`model`", "params.`intermediate`", "params.`target`", "params.`seed`", "metrics.`score`", "metrics.`gain`")
SECTION = {"uuid": KEY, "name": "Scores by language", "display": True, "isReordered": True, "columns": 1, "cardHeight": 380}


def shared_view(plan: Plan) -> str:
    """The tag's content: the cells' runs by gain, and a parallel-coordinates chart a target."""
    kept = {"deleted": False, "isGenerated": False}
    charts = [
        {
            "uuid": f"{KEY}-{target}",
            "type": "PARALLEL",
            "displayName": f"{target}: {metric} by language",
            "metricSectionId": KEY,
            "runsCountToCompare": 100,
            "showAllRuns": True,
            "selectedParams": ["model"],
            "selectedMetrics": [f"{metric}/{target}/{language}" for language in plan.languages(target)],
            **kept,
        }
        for target in plan.study.manifest.matrix.target
        for metric in [plan.study.facts.tasks[target].metric]
    ]
    state: dict[str, Any] = {
        "searchFilter": "tags.`xlift.kind` = 'cell'",
        "orderByKey": "metrics.`gain`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": COLUMNS,
        "runsHiddenMode": "SHOWALL",
        "viewMaximized": False,
        "runListHidden": False,
        "compareRunCharts": charts,
        "compareRunSections": [SECTION | kept],
        "isAccordionReordered": True,
    }
    return json.dumps(state)
