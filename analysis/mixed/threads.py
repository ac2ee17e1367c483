"""One BLAS thread around a fit: its matrices are small, and a second thread burns more than it brings."""

from collections.abc import Callable
from functools import cache, wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
Result = TypeVar("Result")


@cache
def _controller():
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()  # looks at every loaded library, so once


def one_thread(function: Callable[P, Result]) -> Callable[P, Result]:
    """The function, with BLAS limited to one thread while it runs."""

    @wraps(function)
    def limited(*args: P.args, **kwargs: P.kwargs) -> Result:
        with _controller().limit(limits=1, user_api="blas"):
            return function(*args, **kwargs)

    return limited
