"""Options that name a task and set it, for every command that takes one."""

from __future__ import annotations

import argparse
import json
from typing import Any

from percbal.tasks import Task, get_task


def add_task_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", default="sudoku", help="default: %(default)s")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the task, the value as JSON, e.g. --option size=9; repeatable",
    )


def task_of(args: argparse.Namespace) -> Task:
    return get_task(args.task, **dict(_option(text) for text in args.option))


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--option takes NAME=VALUE, got {text!r}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value
