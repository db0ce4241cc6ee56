"""`percbal tasks`: list them, look at one, export it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from percbal.cli.task_options import add_task_options, task_of
from percbal.tasks import TASKS, get_task


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "tasks",
        help="list the diagnostic tasks, look at one, or export it for any training engine",
        description="Without --preview or --export: the tasks and what their options do.",
    )
    add_task_options(parser)
    parser.add_argument("--preview", type=Path, metavar="FILE.png", help="write a contact sheet")
    parser.add_argument("--export", type=Path, metavar="DIRECTORY", help="write images and JSONL")
    parser.add_argument("--n", type=int, default=8, help="instances (default: %(default)s)")
    parser.add_argument("--split", default="train", choices=("train", "test"))
    parser.add_argument("--seed", type=int, default=0)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    from percbal.tasks.preview import export_jsonl, save_preview

    if args.preview is None and args.export is None:
        for name, make in TASKS.items():
            print(f"{name}\n{make.__doc__}\nby default: {get_task(name).describe()}")
        return
    task = task_of(args)
    if args.preview is not None:
        print(save_preview(task, args.n, args.preview))
    if args.export is not None:
        print(export_jsonl(task, args.split, args.n, args.export, seed=args.seed))
