"""Options that say how responses are written, for commands that TRL does not parse."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any

from percbal.responses.asking import Asking
from percbal.responses.options import ResponseFormatArguments

OPTIONS = {option.name: option for option in fields(ResponseFormatArguments)}


def add_format_options(parser: Any) -> None:
    """Those of `ResponseFormatArguments`, with its words and defaults, and the template's."""
    parser.add_argument("--chat-template-kwargs", help="options of the chat template, as JSON")
    for name, option in OPTIONS.items():
        kind: dict[str, Any] = {"help": option.metadata["help"]}
        if name == "perception_tags":
            kind |= {"nargs": 2, "metavar": ("OPENING", "CLOSING")}
        elif name == "state_format":
            kind |= {"action": "store_true"}
        parser.add_argument(f"--{name.replace('_', '-')}", **kind)


def asking_of(args: argparse.Namespace) -> Asking:
    """How a model is asked, by parsed options. ValueError for one that is impossible."""
    given = {name: getattr(args, name) for name in OPTIONS}
    kept = {name: value for name, value in given.items() if value is not None}
    return ResponseFormatArguments(**kept).asking(args.chat_template_kwargs)
