"""`percbal study`: the whole experiment by a preset."""

from __future__ import annotations

import argparse
from pathlib import Path

RUNS = Path("runs")


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
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    from percbal.report.page import write_report
    from percbal.study.presets import PRESETS
    from percbal.study.runner import run_study

    study = PRESETS[args.preset]
    root = args.out / (args.name or study.name)
    print(
        f"study {study.name}: {study.about}\nin {root}; interrupt it freely, it goes on from there"
    )
    results = run_study(study, root, jobs=args.jobs)
    report = write_report(study, results, root)
    print((root / "results.md").read_text())
    print(f"report: {report}\ntable: {root / 'results.md'}\nnumbers: {root / 'results.json'}")
