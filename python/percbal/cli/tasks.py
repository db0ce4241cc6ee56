"""`percbal tasks`: list them, show one, make data sets of it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from percbal.cli.given import given, keep_defaults
from percbal.cli.least import check_least
from percbal.cli.task_options import add_options, add_short_options, add_task_options, options_given
from percbal.cli.tried_task import tried_task
from percbal.tasks import TASKS, Task, get_task, task_class

EXPORTS = ("trl", "llama-factory", "verl")


def add(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Alone: the tasks and what their options do. --preview and --export FILE do "
        "what `show` and `make` do, for one split and as JSON lines."
    )
    add_task_options(parser)
    parser.add_argument("--preview", type=Path, metavar="FILE.png", help="write a contact sheet")
    parser.add_argument("--export", type=Path, metavar="DIRECTORY", help="write images and JSONL")
    _add_counts(parser, n=8)
    parser.set_defaults(run=run)
    keep_defaults(parser)
    parts = parser.add_subparsers(dest="part", metavar="show | make")
    _add_show(parts)
    _add_make(parts)


def _add_counts(parser: argparse.ArgumentParser, n: int) -> None:
    parser.add_argument("--n", type=int, default=n, help="instances (default: %(default)s)")
    parser.add_argument("--split", default="train", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)


def _add_show(parts: Any) -> None:
    parser = parts.add_parser(
        "show",
        help="draw some instances with their texts on one sheet",
        description="Write a PNG of some instances, each with its query, p*, the beginning of its "
        "reasoning and its answer.",
    )
    _add_name(parser)
    parser.add_argument("--out", type=Path, metavar="FILE.png", help="default: NAME.png")
    _add_counts(parser, n=6)
    parser.set_defaults(run=run_show)


def _add_make(parts: Any) -> None:
    parser = parts.add_parser(
        "make",
        help="make a data set, all splits at once",
        description="Write DIRECTORY/data/SPLIT-*.parquet and a data card: the columns of "
        "arXiv:2605.29496 and those that percbal reads. `percbal.read_dataset(DIRECTORY, SPLIT)` "
        "reads it. Goes on where it was interrupted; DIRECTORY is there only when it is whole.",
    )
    _add_name(parser)
    parser.add_argument(
        "--split",
        required=True,
        metavar="NAME=ROWS,..",
        help="e.g. train_sft=4000,train_rl=16000,test=500",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIRECTORY")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, help="processes (default: one for each core)")
    parser.add_argument(
        "--export",
        choices=EXPORTS,
        help="also write DIRECTORY-EXPORT in the columns of another program",
    )
    parser.set_defaults(run=run_make)


def _add_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="NAME", help="of a task, or module:Class")
    add_options(parser)
    add_short_options(parser)


def run(args: argparse.Namespace) -> None:
    from percbal.tasks.preview import export_jsonl, save_preview

    if args.preview is None and args.export is None:
        for said in given(args).values():
            raise ValueError(f"{said} has no effect without --preview or --export: it lists tasks")
        for name in TASKS:
            print(f"{name}\n{task_class(name).__doc__}\nby default: {get_task(name).describe()}")
        return
    task = _task(args, args.split)
    if args.preview is not None:
        print(save_preview(task, args.n, args.preview, args.split, args.seed))
    if args.export is not None:
        print(export_jsonl(task, args.split, args.n, args.export, seed=args.seed))


def run_show(args: argparse.Namespace) -> None:
    from percbal.tasks.sheet import save_preview

    target = args.out or Path(f"{args.task.rpartition(':')[2]}.png")
    print(save_preview(_task(args, args.split), args.n, target, args.split, args.seed))


def run_make(args: argparse.Namespace) -> None:
    from percbal.cli.task_data import export, make_data_set

    check_least(args, 1, "workers")
    splits = _rows_of(args.split)
    task = _task(args, next(iter(splits)))
    folder = make_data_set(task, splits, args.out, seed=args.seed, workers=args.workers)
    print(folder)
    if args.export is not None:
        for split in splits:
            print(export(folder, split, args.export, Path(f"{folder}-{args.export}")))


def _task(args: argparse.Namespace, split: str) -> Task:
    return tried_task(args.task, options_given(args), "--option", split)


def _rows_of(text: str) -> dict[str, int]:
    """Rows by split, of ``NAME=ROWS,..``."""
    splits: dict[str, int] = {}
    for part in text.split(","):
        name, _, rows = part.partition("=")
        if not rows.isdecimal() or int(rows) < 1 or name in splits:
            raise ValueError(f"--split takes NAME=ROWS,.. with each name once, got {text!r}")
        splits[name] = int(rows)
    return splits
