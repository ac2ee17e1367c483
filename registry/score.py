"""A result row, which `runners` write and `analysis` reads."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from xlift.registry.known.metrics import known
from xlift.registry.spec import Spec

Fraction = Annotated[float, Field(ge=0, le=1)]


class Score(Spec):
    """One metric of one evaluated stage in one language. A failure is never a score."""

    language: str
    metric: str
    value: Annotated[float, Field(allow_inf_nan=False)] = Field(description="a fraction, or what else the metric can be")
    primary: bool = Field(description="the metric that gains are computed on")
    items: Annotated[int, Field(gt=0)] | None = Field(None, description="test items behind the value; None: not reported")
    chance: Fraction | None = Field(None, description="what the best guess without the text would get; None: not reported")
    se: Annotated[float, Field(ge=0)] | None = Field(
        None, description="standard error over items, not over seeds; None: cannot be told from what was reported"
    )
    data: str = Field(description="sha-256 of the test data behind the value")

    @model_validator(mode="after")
    def _within_the_metric(self) -> Self:
        metric = known(self.metric)
        if metric and not metric.low <= self.value <= metric.high:
            raise ValueError(f"a {self.metric} of {self.value:g} is not within {metric.low:g} and {metric.high:g}")
        return self
