"""A result row, which `runners` write and `analysis` reads."""

from typing import Annotated

from pydantic import Field

from xlift.registry.spec import Spec

Fraction = Annotated[float, Field(ge=0, le=1)]


class Score(Spec):
    """One metric of one evaluated stage in one language. A failure is never a score."""

    language: str
    metric: str
    value: Fraction
    primary: bool = Field(description="the metric that gains are computed on")
    items: Annotated[int, Field(gt=0)] | None = Field(None, description="test items behind the value; None: not reported")
    chance: Fraction | None = Field(None, description="what the best guess without the text would get; None: not reported")
    se: Annotated[float, Field(ge=0)] | None = Field(
        None, description="standard error over items, not over seeds; None: cannot be told from what was reported"
    )
    data: str = Field(description="sha-256 of the test data behind the value")
