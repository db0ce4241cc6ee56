"""`percbal diagnose`: a, a_p and a_r of a model on a task or a data set."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from percbal.cli.answer_options import (
    add_answer_options,
    check_who,
    other_answers,
    write_prompts,
)
from percbal.cli.dataset_options import add_image_options
from percbal.cli.format_options import add_format_options, asking_of
from percbal.cli.task_options import add_task_options, task_of
from percbal.cli.tried_task import tried_task

if TYPE_CHECKING:
    from percbal.evaluate.questions import Question
    from percbal.responses.asking import Asking


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "diagnose",
        help="measure a, a_p and a_r of a model on a task or a data set",
        description="End-to-end (a), perception (a_p) and reasoning accuracy given the true "
        "perception (a_r), by greedy decoding on a held-out split of a task or of a data set.",
    )
    add_answer_options(parser)
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
    add_format_options(parser)
    parser.add_argument("--out", type=Path, help="write everything, every completion too, as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    check_who(args)
    asking = asking_of(args)
    if args.out is not None and not args.out.parent.is_dir():
        raise ValueError(f"--out: there is no directory {args.out.parent}")
    others = other_answers(args, asking)  # who cannot be asked is found before data are read
    source = _source(args)
    if args.write_prompts is not None:
        print(write_prompts(args, _questions(args, source, asking)))
        return
    if others is None:
        result, notes = _asked_here(args, source, asking)
    else:
        from percbal.evaluate.diagnose import measure

        questions = _questions(args, source, asking)
        answers = others(questions)
        options = {"split": args.split, "seed": args.seed, "batch_size": args.batch_size}
        ways = ("image", "told") if answers.tells else ("image",)
        result = measure(questions, answers, asking, **options, progress=True, ways=ways)
        notes = answers.notes()
    print("\n".join([result.summary(), *notes]))
    if args.out is not None:
        args.out.write_text(json.dumps(result.to_dict() | {"notes": notes}))


def _asked_here(args: argparse.Namespace, source: Any, asking: Asking) -> tuple[Any, list[str]]:
    """The diagnosis of a model that runs in this process, and lines of how it ran."""
    import torch

    from percbal.evaluate.diagnose import diagnose
    from percbal.evaluate.generation import left_out
    from percbal.models.attention import set_attention
    from percbal.models.loading import load_vlm

    if args.dataset is not None:  # a row that cannot be asked is found before a model is loaded
        _questions(args, source, asking)
    model, processor = load_vlm(args.model, dtype=args.dtype)
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model.to(device)  # type: ignore[arg-type]
    notes = [f"attention: {set_attention(model, args.attention)}"]
    if dropped := left_out(model):
        notes.append(f"left out of its generation config: {', '.join(dropped)}")
    result = diagnose(
        model,
        processor,
        source,
        n=args.n,
        split=args.split,
        seed=args.seed,
        on_bad_row=args.on_bad_row,
        batch_size=args.batch_size,
        asking=asking,
        max_new_tokens=args.max_new_tokens,
    )
    return result, notes


def _questions(args: argparse.Namespace, source: Any, asking: Asking) -> list[Question]:
    from percbal.evaluate.diagnose import questions_of

    for name in ("n", "batch_size", "max_new_tokens"):
        if (value := getattr(args, name)) is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    skip = args.on_bad_row == "skip"
    return questions_of(source, args.n, args.split, args.seed, asking, skip=skip)


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
