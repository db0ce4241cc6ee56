"""Which options of a command are not as they are by default, as they would be typed.

An option that changes nothing in the way a command is called is refused by these.
"""

from __future__ import annotations

import argparse
from typing import Any

LONGEST = 60  # characters of a value in a sentence


def keep_defaults(parser: argparse.ArgumentParser) -> None:
    """For `given`. Called when all options are added."""
    kept = {a.dest: (a.option_strings[-1], a.default) for a in parser._actions if a.option_strings}
    parser.set_defaults(known={name: kept[name] for name in kept if name != "help"})


def given(args: argparse.Namespace) -> dict[str, str]:
    """Option -> ``--option value``, of those that are not left at their default."""
    values = {name: getattr(args, name) for name in args.known}
    return {
        name: _typed(flag, values[name])
        for name, (flag, default) in args.known.items()
        if values[name] != default
    }


def _typed(flag: str, value: Any) -> str:
    if value is True:
        return flag
    words = value if isinstance(value, (list, tuple)) else [value]
    return f"{flag} {' '.join(map(str, words)):.{LONGEST}}"
