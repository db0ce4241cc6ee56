"""`percbal diagnose`: a, a_p and a_r of a model on a task."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from percbal.cli.format_options import add_format_options, asking_of
from percbal.cli.task_options import add_task_options, task_of


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "diagnose",
        help="measure a, a_p and a_r of a model on a task",
        description="End-to-end (a), perception (a_p) and reasoning accuracy given the true "
        "perception (a_r), by greedy decoding on a held-out split.",
    )
    parser.add_argument("model", help="directory or hub name of a vision-language model")
    parser.add_argument("--dtype", default="float32", help="of the weights, or auto: as saved")
    add_task_options(parser)
    parser.add_argument("--n", type=int, default=256, help="instances (default: %(default)s)")
    parser.add_argument("--split", default="test", choices=("test", "train"))
    parser.add_argument("--seed", type=int, default=0, help="of the instances")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument(
        "--max-new-tokens", type=int, help="of a response (default: 1.5 times the true one)"
    )
    add_format_options(parser)
    parser.add_argument("--device", help="default: cuda if there is one, else cpu")
    parser.add_argument("--out", type=Path, help="write everything, every completion too, as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    import torch

    from percbal.evaluate.diagnose import diagnose
    from percbal.models.loading import load_vlm

    task = task_of(args)
    asking = asking_of(args)
    if args.out is not None and not args.out.parent.is_dir():
        raise ValueError(f"--out: there is no directory {args.out.parent}")
    model, processor = load_vlm(args.model, dtype=args.dtype)
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model.to(device)  # type: ignore[arg-type]
    result = diagnose(
        model,
        processor,
        task,
        n=args.n,
        split=args.split,
        seed=args.seed,
        batch_size=args.batch_size,
        asking=asking,
        max_new_tokens=args.max_new_tokens,
    )
    print(result.summary())
    if args.out is not None:
        args.out.write_text(json.dumps(result.to_dict()))
