"""`percbal study`: the whole experiment by a preset."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from percbal.cli.given import given, keep_defaults
from percbal.cli.least import check_least

RUNS, STUDIES = Path("runs"), Path("docs/studies")


def add(parser: argparse.ArgumentParser) -> None:
    from percbal.study.presets import PRESETS

    parser.description = (
        "Train a tiny vision-language model from scratch by every arm of a preset, "
        "from the same weights on the same batches, and measure seeing and reasoning apart. "
        "Started again, it goes on where it stopped."
    )
    parser.epilog = "presets: " + "; ".join(f"{p.name}: {p.about}" for p in PRESETS.values())
    parser.add_argument("--preset", choices=list(PRESETS), default="quick")
    parser.add_argument("--name", help="directory below --out (default: the preset's name)")
    parser.add_argument("--out", type=Path, default=RUNS, help="default: %(default)s")
    parser.add_argument("--jobs", type=int, help="processes at once (default: one per core)")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="arm=NAME|tuning",
        help="runs of this arm (may be given again), or the tuning of the rates alone",
    )
    parser.add_argument(
        "--seeds", type=_seeds, default=(), metavar="1..4|1,3", help="runs of these seeds alone"
    )
    parser.add_argument("--minutes", type=float, help="after so many, no run begins any more")
    parser.add_argument(
        "--lines",
        type=Path,
        help="file with a line for each finished run, to grow over days and machines: runs that "
        "have a line there are not made again (default: lines.jsonl in the study's directory)",
    )
    parser.add_argument(
        "--registration",
        type=Path,
        help="what was said before the study was run (default: docs/studies/ and the name that "
        "the preset gives)",
    )
    parser.add_argument(
        "--page",
        type=Path,
        metavar="DOCS",
        help="run nothing: write results.md and its pictures in this folder from its "
        "studies/*.yaml and results/*.jsonl",
    )
    parser.set_defaults(run=run)
    keep_defaults(parser)


def _seeds(text: str) -> tuple[int, ...]:
    """Of ``3``, ``1,3`` or ``1..4``."""
    first, dots, last = text.partition("..")
    try:
        found = range(int(first), int(last) + 1) if dots else tuple(map(int, text.split(",")))
        if not found:
            raise ValueError
        return tuple(found)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be like 1..4 or 1,3, got {text!r}") from None


def _part(args: argparse.Namespace, registered: str) -> Any:
    from percbal.study.registration import read_registration
    from percbal.study.runner import Part

    arms = tuple(only.removeprefix("arm=") for only in args.only if only.startswith("arm="))
    if unknown := {only for only in args.only if not only.startswith("arm=")} - {"tuning"}:
        raise ValueError(f"--only must be arm=NAME or tuning, got {', '.join(sorted(unknown))}")
    said = args.registration or (STUDIES / f"{registered}.yaml" if registered else None)
    # nothing is promised of a study whose lines stay in its own directory
    bound = said is not None and bool(args.registration or args.lines or said.exists())
    return Part(
        arms=arms,
        seeds=args.seeds,
        tuning="tuning" in args.only,
        minutes=args.minutes,
        lines=args.lines,
        registered=read_registration(said).hash if bound and said else "",
    )


def run(args: argparse.Namespace) -> None:
    from percbal.report.page import write_report
    from percbal.study.presets import PRESETS
    from percbal.study.runner import done_of, run_study

    for name, said in given(args).items():
        if args.page is not None and name != "page":
            raise ValueError(f"{said} has no effect with --page, which runs nothing")
    if args.page is not None:
        from percbal.report.evidence import write_page

        print(write_page(args.page))
        return
    check_least(args, 1, "jobs")
    check_least(args, 0, "minutes")
    study = PRESETS[args.preset]
    if "tuning" in args.only and not study.tunes():
        raise ValueError(
            f"--only tuning has no effect with --preset {study.name}, which tunes no rates"
        )
    root = args.out / (args.name or study.name)
    part = _part(args, study.registered)
    print(
        f"study {study.name}: {study.about}\nin {root}; interrupt it freely, it goes on from there"
    )
    results = run_study(study, root, jobs=args.jobs, part=part)
    if args.lines is not None:
        done, asked = done_of(study, root, part)
        print(f"{done} of the {asked} runs that were asked for have a line in {args.lines}")
    if not results.rows:
        print(f"no run of a result has ended in {root}")
        return
    report = write_report(study, results, root)
    print((root / "results.md").read_text())
    print(f"report: {report}\ntable: {root / 'results.md'}\nnumbers: {root / 'results.json'}")
