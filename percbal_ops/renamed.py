"""Keywords of before: they work until 0.2, and say what they are called now."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def renamed(**old: str) -> Callable[[Function], Function]:
    """``@renamed(before="now")``: the keyword `before` is passed on as `now`, with a warning."""

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def accepting_old(*args: Any, **kwargs: Any) -> Any:
            for before in old.keys() & kwargs.keys():
                name, now = function.__name__, old[before]
                if now in kwargs:
                    raise TypeError(f"{name}() got {now} and {before}, which it was called before")
                said = f"{name}(): the keyword {before} is now {now}"
                warnings.warn(said, DeprecationWarning, stacklevel=2)
                kwargs[now] = kwargs.pop(before)
            return function(*args, **kwargs)

        return accepting_old  # type: ignore[return-value]

    return decorate
