"""Which names `balance:` knows."""

from __future__ import annotations

import dataclasses
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
# who reads the options whose names begin so
READERS: dict[str, type[Balance]] = {"ngdiff": NGDiff, "calibrated": Calibrated}


def make_controller(name: str, options: Any, *, counts_alone: bool = False) -> Balance:
    """The controller of this name, or a class of the user's own, ``module:Class``.

    options: what the class's ``from_options`` reads.
    counts_alone: refuse those that learn from steps.
    Raises ValueError, with the known names, for a name that is none of them.
    """
    names = [n for n, kind in CONTROLLERS.items() if not (counts_alone and kind.observes)]
    if name in names:
        refuse_unread(CONTROLLERS[name], options, f"balance {name}")
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
    refuse_unread(kind, options, f"balance {name}")
    return kind.from_options(options)


def refuse_unread(kind: type[Balance], options: Any, who: str) -> None:
    """ValueError where an option was chosen that only rules of another kind read.

    kind: ``Balance`` itself reads none. who: the subject of the sentence.
    A class with a ``from_options`` of its own may read whatever it likes.
    """
    known = [Balance, *CONTROLLERS.values()]
    own = getattr(kind.from_options, "__func__", None)
    if not any(own is each.from_options.__func__ for each in known):  # type: ignore[attr-defined]
        return
    for option in dataclasses.fields(options) if dataclasses.is_dataclass(options) else ():
        reader = READERS.get(option.name.partition("_")[0])
        value = getattr(options, option.name)
        if reader and not issubclass(kind, reader) and value != option.default:
            raise ValueError(
                f"{option.name}={value:g} would change nothing: {who} does not read it; leave it "
                f"out, or set it to {option.default:g}"
            )
