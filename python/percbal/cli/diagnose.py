"""`percbal diagnose`: a, a_p and a_r of a model on a task or a data set."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from percbal.cli.dataset_options import add_image_options
from percbal.cli.format_options import add_format_options, asking_of
from percbal.cli.task_options import add_task_options, options_of, task_of
from percbal.cli.tried_task import tried_task

WAYS = ("image", "told", "text")  # of percbal.evaluate.questions, which imports torch


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "diagnose",
        help="measure a, a_p and a_r of a model on a task or a data set",
        description="End-to-end (a), perception (a_p) and reasoning accuracy given the true "
        "perception (a_r), by greedy decoding on a held-out split of a task or of a data set.",
    )
    parser.add_argument("model", help="directory or hub name of a vision-language model")
    parser.add_argument("--dtype", default="float32", help="of the weights, or auto: as saved")
    add_task_options(parser)
    parser.add_argument(
        "--dataset",
        help="instead of a task: file, folder or hub name of a data set with a true perception "
        "and an answer in every row (docs/diagnose.md)",
    )
    add_image_options(parser)
    parser.add_argument("--on-bad-row", default="stop", choices=("stop", "skip"))
    parser.add_argument("--n", type=int, default=256, help="instances (default: %(default)s)")
    parser.add_argument(
        "--split", default="test", help="of the task, or of a data set with several (default: test)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the instances, or of their choice")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument(
        "--max-new-tokens",
        type=int,
        help="of a response (default: 1.5 times the true one, 1024 where there is none)",
    )
    parser.add_argument(
        "--ways",
        nargs="+",
        default=list(WAYS),
        choices=WAYS,
        help="of asking: from the image (a, a_p), told the true perception (a_r), and from it as "
        "text without the image (a_r_text); default: all three",
    )
    add_format_options(parser)
    parser.add_argument("--device", help="default: cuda if there is one, else cpu")
    parser.add_argument("--out", type=Path, help="write everything, every completion too, as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    import torch

    from percbal.evaluate.diagnose import diagnose, questions_of
    from percbal.models.loading import load_vlm

    asking = asking_of(args)
    if args.out is not None and not args.out.parent.is_dir():
        raise ValueError(f"--out: there is no directory {args.out.parent}")
    source = _source(args)
    options = {"n": args.n, "split": args.split, "seed": args.seed, "on_bad_row": args.on_bad_row}
    if args.dataset is not None:  # a row that cannot be asked is found before a model is loaded
        questions_of(source, args.n, args.split, args.seed, asking, skip=args.on_bad_row == "skip")
    model, processor = load_vlm(args.model, dtype=args.dtype)
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model.to(device)  # type: ignore[arg-type]
    result = diagnose(
        model,
        processor,
        source,
        **options,
        batch_size=args.batch_size,
        asking=asking,
        max_new_tokens=args.max_new_tokens,
        ways=args.ways,
        about=about(args),
    )
    print(result.summary())
    if args.out is not None:
        args.out.write_text(json.dumps(result.to_dict()))


def about(args: argparse.Namespace) -> dict[str, Any]:
    """What the result says of where it comes from."""
    task = {"task": args.task, "options": options_of(args.option, "--option")}
    return {
        "source": task if args.dataset is None else {"dataset": args.dataset},
        "model": args.model,
        "options": {
            "format": args.response_format or "tags",
            "state_format": args.state_format,
            "max_new_tokens": args.max_new_tokens,
        },
    }


def _source(args: argparse.Namespace) -> Any:
    """The task or the data set."""
    if args.dataset is None:
        return tried_task(lambda: task_of(args), args.split, "--option")
    if args.option:
        raise ValueError("--option sets a task; with --dataset there is none")
    from percbal.data.reading import read_dataset

    return read_dataset(
        args.dataset,
        args.split,
        completions=None,
        images_within=args.images_within,
        max_image_pixels=args.max_image_pixels,
        on_bad_row=args.on_bad_row,
    )
