"""`percbal diagnose`: a, a_p and a_r of a model on a task or a data set."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from percbal.cli.answer_options import (
    add_answer_options,
    body_of,
    check_who,
    other_answers,
    who,
    write_prompts,
)
from percbal.cli.compare import compare_files
from percbal.cli.dataset_options import add_image_options
from percbal.cli.diagnose_output import answers_kept, write_result
from percbal.cli.format_options import add_format_options, asking_of
from percbal.cli.given import keep_defaults
from percbal.cli.least import check_least
from percbal.cli.out_files import check_out
from percbal.cli.sampling_options import add_sampling_options, sampling_of
from percbal.cli.task_options import (
    add_short_options,
    add_task_options,
    options_given,
    options_of,
)
from percbal.cli.tried_task import tried_task

if TYPE_CHECKING:
    from percbal.evaluate.answer_file import AnswerFile
    from percbal.evaluate.diagnosis import Diagnosis
    from percbal.evaluate.questions import Question
    from percbal.responses.asking import Asking

WAYS = ("image", "told", "text")  # of percbal.evaluate.questions, which imports torch


def add(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "End-to-end (a), perception (a_p) and reasoning accuracy given the true "
        "perception (a_r), on a held-out split of a task or of a data set."
    )
    add_answer_options(parser)
    parser.add_argument(
        "--compare",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="ask nobody: results of --out on the same instances, each against the first",
    )
    add_task_options(parser)
    add_short_options(parser)
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
    parser.add_argument("--seed", type=int, default=0, help="of instances, and of samples here")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument(
        "--max-new-tokens",
        type=int,
        help="of a response (default: 1.5 times the true one, 1024 where there is none)",
    )
    parser.add_argument(
        "--ways",
        nargs="+",
        choices=WAYS,
        help="of asking: from the image (a, a_p), told the true perception (a_r), and from it as "
        "text without the image (a_r_text); default: all three, of --completions those it has",
    )
    parser.add_argument(
        "--exact",
        action="store_true",
        help="compute the probability of each true perception, too: one forward pass an instance",
    )
    add_sampling_options(parser)
    add_format_options(parser)
    parser.add_argument(
        "--out",
        type=Path,
        help="write everything, every completion too, as JSON; interrupted, the same command goes "
        "on from the answers kept beside it",
    )
    parser.add_argument("--report", type=Path, help="with --out: also a page to look at, as HTML")
    parser.set_defaults(run=run)
    keep_defaults(parser)


def run(args: argparse.Namespace) -> None:
    check_who(args)
    if args.compare is not None:
        compare_files(args)
        return
    from percbal.evaluate.result_text import result_text

    asking = asking_of(args)
    check_least(args, 1, "n", "batch_size", "max_new_tokens")
    check_out(args.out)
    check_out(args.report, "--report")
    check_out(args.write_prompts, "--write-prompts")
    if "image" not in (args.ways or WAYS):
        raise ValueError("--ways without image measures no a: name it, too")
    if args.report is not None and args.out is None:
        raise ValueError("--report makes a page of what --out writes, and there is no --out")
    others = other_answers(args, asking)  # who cannot be asked is found before data are read
    source = _source(args)
    if args.write_prompts is not None:
        print(write_prompts(args, _questions(args, source, asking)))
        return
    about = about_of(args, source)
    with answers_kept(args, about) as kept:
        given: Any = {"asking": asking, "about": about, "kept": kept}
        if others is None:
            result, notes = _asked_here(args, source, **given)
        else:
            result, notes = _asked_elsewhere(args, source, others, **given)
        if args.out is not None:
            write_result(args.out, result.to_dict() | {"notes": notes})
    if kept is not None:
        kept.remove()
    print("\n".join([result.summary(), *notes, "", result_text(result)]))
    if args.report is not None:
        from percbal.report.diagnosis import write_page

        shown = {"task" if args.dataset is None else "dataset": source}
        write_page([args.out], args.report, **shown)


def about_of(args: argparse.Namespace, source: Any) -> dict[str, Any]:
    """What the result says of where it comes from. source: the task, or the data set."""
    where = {"dataset": args.dataset}
    if args.dataset is None:
        options = options_of(options_given(args), "--option")
        where = {"task": args.task, "options": options, "described": source.describe()}
    drawn = sampling_of(args)
    return {
        "source": where,
        **who(args),
        "options": {
            "format": args.response_format or "tags",
            "state_format": args.state_format,
            "perception_tags": args.perception_tags,
            "format_examples": args.format_examples,
            "chat_template_kwargs": args.chat_template_kwargs,
            "max_new_tokens": args.max_new_tokens,
            # of whom it says something
            "dtype": args.dtype if args.model else None,
            "temperature": None if args.completions else drawn.degree,
            "top_p": None if args.completions else drawn.top_p,
            "told": args.told if args.endpoint else None,
            "body": body_of(args) if args.endpoint else None,
        },
    }


def _asked_here(
    args: argparse.Namespace, source: Any, *, asking: Asking, about: Any, kept: AnswerFile | None
) -> tuple[Diagnosis, list[str]]:
    """The diagnosis of a model that runs in this process, and lines of how it ran."""
    import torch

    from percbal.evaluate.diagnose import diagnose
    from percbal.evaluate.generation import left_out
    from percbal.models.attention import set_attention
    from percbal.models.loading import load_vlm

    # a row that cannot be asked is found before a model is loaded
    questions = _questions(args, source, asking)
    model, processor = load_vlm(args.model, dtype=args.dtype)
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model.to(device)  # type: ignore[arg-type]
    notes = [f"attention: {set_attention(model, args.attention)}"]
    if dropped := left_out(model):
        notes.append(f"left out of its generation config: {', '.join(dropped)}")
    result = diagnose(
        model,
        processor,
        questions,
        n=args.n,
        split=args.split,
        seed=args.seed,
        batch_size=args.batch_size,
        asking=asking,
        max_new_tokens=args.max_new_tokens,
        ways=args.ways or WAYS,
        sampling=sampling_of(args),
        exact=args.exact,
        about=about,
        kept=kept,
    )
    return result, notes


def _asked_elsewhere(
    args: argparse.Namespace,
    source: Any,
    others: Any,
    *,
    asking: Asking,
    about: Any,
    kept: AnswerFile | None,
) -> tuple[Diagnosis, list[str]]:
    """The diagnosis of an endpoint or of saved completions, and lines of how they were asked."""
    from percbal.evaluate.diagnose import measure

    questions = _questions(args, source, asking)
    answers = others(questions)
    batch_size = args.batch_size
    if args.endpoint is not None:  # what a request that fails takes along
        batch_size = min(batch_size, args.concurrency)
    has = WAYS if args.completions is None else WAYS[: 1 + answers.tells]
    if lacking := set(args.ways or ()) - {*has}:
        raise ValueError(f"{args.completions} has no answers to --ways {', '.join(lacking)}")
    result = measure(
        questions,
        answers,
        asking,
        split=args.split,
        seed=args.seed,
        batch_size=batch_size,
        progress=True,
        ways=args.ways or has,
        samples=args.samples,
        about=about,
        kept=kept,
    )
    notes = answers.notes()
    if kept is not None and kept.reused:
        notes.append(
            f"{kept.reused} answers were there from an earlier run: requests, tokens and cost are "
            "those of this run alone"
        )
    return result, notes


def _questions(args: argparse.Namespace, source: Any, asking: Asking) -> list[Question]:
    from percbal.evaluate.diagnose import questions_of

    skip = args.on_bad_row == "skip"
    return questions_of(source, args.n, args.split, args.seed, asking, skip=skip)


def _source(args: argparse.Namespace) -> Any:
    """The task or the data set."""
    if args.dataset is None:
        return tried_task(args.task, options_given(args), "--option", args.split, judges=True)
    from percbal.data.reading import read_dataset

    return read_dataset(
        args.dataset,
        args.split,
        completions=None,
        images_within=args.images_within,
        max_image_pixels=args.max_image_pixels,
        on_bad_row=args.on_bad_row,
    )
