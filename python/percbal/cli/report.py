"""`percbal report`: a page about results of `percbal diagnose --out`."""

from __future__ import annotations

import argparse
from pathlib import Path

from percbal.cli.least import check_least
from percbal.cli.out_files import check_out


def add(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Write one self-contained HTML file about a result of `percbal diagnose "
        "--out`: where its errors come from, and pictures with what the model said. Several "
        "results are compared with the first (docs/report.md)."
    )
    parser.add_argument("results", type=Path, nargs="+", metavar="RESULT.json")
    parser.add_argument(
        "--out", type=Path, default=Path("report.html"), help="default: report.html"
    )
    parser.add_argument(
        "--show", type=int, help="instances of one result to show one by one (default: 60)"
    )
    parser.add_argument(
        "--task",
        metavar="module:Class",
        help="of the result, if it is one of your own: it is imported, to draw the pictures",
    )
    parser.add_argument(
        "--dataset", help="where the data set of the result is now, to show its pictures"
    )
    parser.add_argument(
        "--images-within", help="folder that paths of its images may not leave (default: its own)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    from percbal.report.diagnosis import MOST, write_page

    check_least(args, 1, "show")
    if args.show is not None and len(args.results) > 1:
        raise ValueError(f"--show is for one result; there are {len(args.results)}")
    check_out(args.out)
    write_page(
        args.results,
        args.out,
        most=args.show or MOST,
        dataset=args.dataset,
        images_within=args.images_within,
        task=args.task,
    )
    print(args.out)
