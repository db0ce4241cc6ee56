"""Options that name a task and set it, for every command that takes one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from percbal.data.lines import json_or_text
from percbal.tasks import Task, get_task

SHORT = ("size", "level", "form", "style", "verbosity", "pixels")  # --size 9 is --option size=9


def add_task_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--task", default="sudoku", help="its name, or module:Class (default: %(default)s)"
    )
    add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """--option alone, where the task is named otherwise."""
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the task, the value as JSON, e.g. --option size=9; repeatable",
    )


def add_short_options(parser: argparse.ArgumentParser) -> None:
    """The options that most tasks have, by their own names, beside --option."""
    for name in SHORT:
        parser.add_argument(f"--{name}", metavar="VALUE", help=f"--option {name}=VALUE")


def options_given(args: argparse.Namespace) -> list[str]:
    """Those of --option, and the short ones in the same form."""
    short = {name: getattr(args, name, None) for name in SHORT}
    return [*args.option, *(f"{n}={value}" for n, value in short.items() if value is not None)]


def make_task(name: str, options: Sequence[str], called: str) -> Task:
    """The task of a name, set by options of the form NAME=VALUE. called: as the user knows them."""
    return get_task(name, **options_of(options, called))


def options_of(options: Sequence[str], called: str) -> dict[str, Any]:
    """What options of the form NAME=VALUE say."""
    return dict(_option(text, called) for text in options)


def _option(text: str, called: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"{called} takes NAME=VALUE, got {text!r}")
    return name, json_or_text(value)
