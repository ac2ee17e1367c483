"""What MLflow shows of a tuned study: a run a search, and below it one for each trial. MLflow itself is not needed here."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from xlift.registry.card import Trial
from xlift.registry.plan import Plan
from xlift.registry.store import Store
from xlift.registry.tuning import Search
from xlift.runners.tracking.runs import NOTE
from xlift.runners.tracking.status import Point

CURVES = {"loss": "train/loss", "dev": "dev/score"}  # of a trial: what it is looked at for


@dataclass(frozen=True)
class SearchView:
    """A search as MLflow shall show it."""

    search: Search
    folder: str
    family: str
    tasks: tuple[str, ...]

    @property
    def key(self) -> str:
        return f"search:{self.folder}"

    @property
    def name(self) -> str:
        return f"{self.search.name.replace('/', ' / ')} / tuning"

    def tags(self, study: str) -> dict[str, str]:
        note = f"Search for the recipe of **{self.search.name}**, judged on development data of {', '.join(self.tasks)}."
        return self._axes() | {
            "xlift.key": self.key,
            "xlift.kind": "search",
            "xlift.study": study,
            "mlflow.note.content": note[:NOTE],
            "mlflow.source.name": "xlift",
            "mlflow.source.type": "LOCAL",
        }

    def key_of(self, trial: Trial) -> str:
        return f"trial:{self.folder}:{trial.number}"

    def name_of(self, trial: Trial) -> str:
        return f"{self.search.name.replace('/', ' / ')} / trial {trial.number}"

    def tags_of(self, trial: Trial, study: str, parent: str) -> dict[str, str]:
        more = {"xlift.key": self.key_of(trial), "xlift.kind": "trial", "mlflow.parentRunId": parent, "state": trial.state}
        told = {
            "xlift.stage": " ".join((*trial.stages, *trial.judges)),
            "mlflow.note.content": f"Stages: {', '.join(trial.stages)}.",
        }
        failure = {"failure": trial.reason[:NOTE]} if trial.reason else {}
        return self.tags(study) | more | told | failure

    def params(self, trial: Trial) -> Iterator[tuple[str, str]]:
        yield from self._axes().items()
        yield "trial", str(trial.number)
        yield "origin", trial.origin
        yield from ((f"recipe.{name}", str(value)) for name, value in trial.values.items())

    def points(self, trial: Trial, store: Store) -> list[Point]:
        """The score on development data, as `score`; memory; and the curves of its training, where it is one."""
        ended, found = times(trial)[1], list[Point]()
        for name, value in (("score", trial.score), ("memory_gb", trial.memory_gb)):
            if value is not None:
                found.append((name, value, ended, 0))
        rows = store.log(trial.stages[0])[0] if len(trial.stages) == 1 else []
        for row in rows:
            found += [(CURVES[name], row[name], int(row["time"]), int(row["step"])) for name in CURVES if name in row]
        return found

    def _axes(self) -> dict[str, str]:
        axes = {"model": self.search.model, "family": self.family, "intermediate": self.search.intermediate}
        return axes | {"variant": self.search.variant} | ({"target": self.search.target} if self.search.target else {})


def searches(plan: Plan) -> tuple[SearchView, ...]:
    """The searches of a study; none where it is not tuned."""
    builder = plan.builder
    cards = [builder.search_card(search) for search in builder.searches] if builder else []
    models = plan.study.facts.models
    return tuple(
        SearchView(
            Search(card.model, card.intermediate, card.variant, card.target), card.folder, models[card.model].family, card.tasks
        )
        for card in cards
    )


def times(trial: Trial) -> tuple[int, int]:
    """When a trial began and ended, in milliseconds since 1970."""
    begun = round(datetime.fromisoformat(trial.started).timestamp() * 1000)
    return begun, begun + round(trial.seconds * 1000)
