"""Which names `balance:` knows."""

from __future__ import annotations

import pkgutil
from typing import Any

from percbal.objective.balance import Balance, Fixed, TokenMean
from percbal.objective.calibrated import Calibrated
from percbal.objective.ngdiff import Head, NGDiff
from percbal.objective.unbiased import UnbiasedNGDiff

CONTROLLERS: dict[str, type[Balance]] = {
    "token_mean": TokenMean,
    "fixed": Fixed,
    "ngdiff": NGDiff,
    "ngdiff_unbiased": UnbiasedNGDiff,
    "calibrated": Calibrated,
    "head": Head,
}


def make_controller(name: str, options: Any, *, counts_alone: bool = False) -> Balance:
    """The controller of this name, or a class of the user's own, ``module:Class``.

    options: what the class's ``from_options`` reads.
    counts_alone: refuse those that learn from steps.
    Raises ValueError, with the known names, for a name that is none of them.
    """
    names = [n for n, kind in CONTROLLERS.items() if not (counts_alone and kind.observes)]
    if name in names:
        return CONTROLLERS[name].from_options(options)
    known = f"balance must be {', '.join(names)} or module:Class, got {name!r}"
    if ":" not in name:
        raise ValueError(known)
    try:
        kind = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{known}: {error}") from error
    if not (isinstance(kind, type) and issubclass(kind, Balance)):
        raise ValueError(f"{known}, which is no percbal.objective.balance.Balance")
    if counts_alone and kind.observes:
        raise ValueError(f"balance {name!r} learns from steps, and only counts are known here")
    return kind.from_options(options)
