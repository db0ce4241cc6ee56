"""`percbal data`: try every row of a data set as training would, or write it in another form."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from percbal.cli.dataset_options import add_image_options
from percbal.cli.format_options import add_format_options, asking_of
from percbal.cli.given import given, keep_defaults
from percbal.cli.least import check_least
from percbal.cli.out_files import check_out

TARGETS = ("trl", "llama-factory", "verl", "paper")
OF_RESPONSES = ("max_length", "tag_tokens", "segments")  # which grpo has none of yet
STATED = ("response_format", "perception_tags")  # a prompt may state them


def add(parser: argparse.ArgumentParser) -> None:
    parts = parser.add_subparsers(dest="part", required=True, metavar="check | convert")
    _add_check(parts)
    _add_convert(parts)


def _add_check(parts: Any) -> None:
    parser = parts.add_parser(
        "check",
        help="try every row as training would",
        description="Encode every row as training would, and say how long rows are, how many "
        "tokens each segment has, and which rows fail. Exit status 1 if one fails.",
    )
    _add_source(parser)
    parser.add_argument("--model", required=True, help="whose processor encodes the rows")
    parser.add_argument(
        "--command",
        dest="trainer",
        default="sft",
        choices=("sft", "grpo"),
        help="which training is meant; grpo needs no responses (default: %(default)s)",
    )
    parser.add_argument("--max-length", type=int, help="as for percbal sft")
    add_format_options(parser)
    parser.add_argument("--tag-tokens", default="segment", help="likewise")
    parser.add_argument("--segments", help="their names, as for percbal sft")
    parser.add_argument("--workers", type=int, help="processes (default: up to 8)")
    parser.add_argument("--show", type=int, default=2, help="rows to show (default: %(default)s)")
    parser.add_argument("--all", action="store_true", help="name every row that fails, not 20")
    parser.add_argument("--out", type=Path, help="write everything as JSON")
    parser.add_argument("--html", type=Path, help="write numbers and shown rows as a page")
    parser.set_defaults(run=run_check)
    keep_defaults(parser)


def _add_convert(parts: Any) -> None:
    parser = parts.add_parser(
        "convert",
        help="write a data set in another form",
        description="Write DIRECTORY/SPLIT.jsonl (for verl SPLIT.parquet) in the columns that "
        "another program reads, its images as files beside. Goes on where it was interrupted.",
    )
    _add_source(parser)
    parser.add_argument("--to", required=True, choices=TARGETS)
    parser.add_argument("--out", type=Path, required=True, metavar="DIRECTORY")
    parser.add_argument("--on-bad-row", default="stop", choices=("stop", "skip"))
    parser.set_defaults(run=run_convert)


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", help="file, folder, or name of a data set on the hub")
    parser.add_argument("--split", default="train", help="of a data set with several")
    add_image_options(parser)


def run_check(args: argparse.Namespace) -> None:
    from percbal.data.check import Check, TriedRow
    from percbal.data.reading import BadRows, read_rows
    from percbal.models.loading import load_processor
    from percbal.segments.names import Segments
    from percbal.sft.check import encode_prompts, tried_rows
    from percbal.sft.collate import SegmentCollator

    check_least(args, 1, "max_length")
    check_least(args, 0, "workers", "show")
    check_out(args.out)
    check_out(args.html, "--html")
    _refuse_without_effect(args)
    sft = args.trainer == "sft"
    processor = load_processor(args.model)
    asking = asking_of(args)
    encode: Any = (
        SegmentCollator(
            processor,
            tag_tokens=args.tag_tokens,
            asking=asking,
            segments=Segments.parse(args.segments),
        )
        if sft
        else encode_prompts(processor, asking)
    )
    everything = args.all or args.out is not None
    check = Check(args.max_length, None if everything else Check.keep)
    bad = BadRows("skip")
    data = read_rows(
        args.dataset,
        args.split,
        bad,
        completions=sft,
        images_within=args.images_within,
        max_image_pixels=args.max_image_pixels,
    )
    for place, problem in bad.found:
        check.add(TriedRow(place, problem))
    interrupted = False
    try:
        options = {"max_length": args.max_length, "shown": args.show, "processes": args.workers}
        for row in tried_rows(data, encode, processor, **options):
            check.add(row)
    except KeyboardInterrupt:
        interrupted = True
    _report(check, args, f"interrupted, the first {check.rows} rows" if interrupted else "")
    if interrupted or check.failed:
        sys.exit(130 if interrupted else 1)


def _refuse_without_effect(args: argparse.Namespace) -> None:
    """ValueError for an option that would change nothing of this check."""
    from percbal.data.files import FILES

    said = given(args)
    if args.trainer == "grpo":
        for name in (name for name in OF_RESPONSES if name in said):
            raise ValueError(f"{said[name]} has no effect with --command grpo; it is for sft")
        for name in (name for name in STATED if name in said and not args.state_format):
            raise ValueError(
                f"{said[name]} has no effect with --command grpo unless the prompts say it "
                "(--state-format)"
            )
    if "split" in said and Path(args.dataset).suffix in FILES:
        raise ValueError(f"{said['split']} has no effect with {args.dataset}, which is one file")


def _report(check: Any, args: argparse.Namespace, note: str) -> None:
    from percbal.report.rows import coloured, write_page

    for row in check.shown:
        print(coloured(row, colour=sys.stdout.isatty()), end="\n\n")
    title = f"{args.dataset}{f' ({note})' if note else ''}"
    failures = check.failure_lines(None) if args.all else check.failure_lines()
    print("\n".join([title, *check.summary(), *failures]))
    if args.out is not None:
        args.out.write_text(json.dumps(check.to_dict(), indent=1))
    if args.html is not None:
        write_page(check, title, args.html)


def run_convert(args: argparse.Namespace) -> None:
    from percbal.data.convert import convert
    from percbal.data.reading import read_dataset

    data = read_dataset(
        args.dataset,
        args.split,
        completions=None,
        images_within=args.images_within,
        max_image_pixels=args.max_image_pixels,
        on_bad_row=args.on_bad_row,
    )
    skip = args.on_bad_row == "skip"
    print(convert(data, args.to, args.split, args.out, source=args.dataset, skip=skip))
