"""Options that say how responses are written, for commands that TRL does not parse."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any

from percbal.responses.asking import Asking
from percbal.responses.options import ResponseFormatArguments

OPTIONS = {option.name: option for option in fields(ResponseFormatArguments)}
READ = ("response_format", "perception_tags")


def add_format_options(parser: Any) -> None:
    """Those of `ResponseFormatArguments`, with its words and defaults, and the template's."""
    parser.add_argument("--chat-template-kwargs", help="options of the chat template, as JSON")
    _add(parser, tuple(OPTIONS))


def add_reading_options(parser: Any) -> None:
    """Those that say how a response is read, for a command that asks nobody."""
    _add(parser, READ)


def _add(parser: Any, names: tuple[str, ...]) -> None:
    for name in names:
        option = OPTIONS[name]
        kind: dict[str, Any] = {"help": option.metadata["help"]}
        if name == "perception_tags":
            kind |= {"nargs": 2, "metavar": ("OPENING", "CLOSING")}
        elif name == "state_format":
            kind |= {"action": "store_true"}
        parser.add_argument(f"--{name.replace('_', '-')}", **kind)


def asking_of(args: argparse.Namespace) -> Asking:
    """How a model is asked, or was, by parsed options. ValueError for one that is impossible."""
    given = {name: getattr(args, name, None) for name in OPTIONS}
    kept = {name: value for name, value in given.items() if value is not None}
    return ResponseFormatArguments(**kept).asking(getattr(args, "chat_template_kwargs", None))
