"""Fixtures of the analysis room's tests."""

import pytest

from xlift.analysis import facts

from .planted import plant, rising, sized


@pytest.fixture
def planting():
    """(card, shelf, connection) of a planted study; six models where not told otherwise."""

    def build(value=rising, **options):
        card, shelf = plant(value, **({"models": sized(6)} | options))
        return card, shelf, facts.connect(shelf, [card])

    return build
