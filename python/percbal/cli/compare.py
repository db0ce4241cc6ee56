"""`percbal diagnose --compare A.json B.json ..`: several models, instance by instance."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from percbal.cli.diagnose_output import write_result
from percbal.cli.out_files import check_out

SHOWN = 12  # flipped instances on the terminal; the JSON has all of them


def compare_files(args: argparse.Namespace) -> None:
    """Print the differences to the first file. Raises ValueError for other instances."""
    from percbal.evaluate.comparison import compare
    from percbal.evaluate.result_text import table
    from percbal.report.results import read_result

    if len(args.compare) < 2:
        raise ValueError("--compare needs two results or more")
    check_out(args.out)
    results = {path: read_result(path).data for path in args.compare}
    first = args.compare[0]
    found = []
    for path in args.compare[1:]:
        try:
            compared = compare(results[first], results[path])
        except ValueError as problem:
            raise ValueError(f"{first} and {path} cannot be compared: {problem}") from None
        found.append({"file": str(path), "model": results[path]["model"], **compared})
        print(f"{_name(path, results[path])} against {_name(first, results[first])}")
        print("\n".join([f"note: {note}" for note in compared["notes"]] + [""]), end="")
        print(table(_rows(compared["accuracies"])), end="\n\n")
        print(_flips(compared["accuracies"]), end="\n\n")
    if args.out is not None:
        base = {"file": str(first), "model": results[first]["model"]}
        write_result(args.out, {"version": 1, "base": base, "others": found})


def _name(path: Path, result: Mapping[str, Any]) -> str:
    return f"{path} ({result['model']})" if result["model"] else str(path)


def _rows(accuracies: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    head = ["", "first", "this", "difference", "95% interval", "p", "gained", "lost", "n"]
    return [head] + [
        [
            name,
            f"{value['base']:.3f}",
            f"{value['other']:.3f}",
            f"{value['difference']:+.3f}",
            f"[{value['low']:+.3f}, {value['high']:+.3f}]",
            "-" if value["p"] is None else f"{value['p']:.2g}",
            *(str(len(value[way])) for way in ("gained", "lost")),
            str(value["n"]),
        ]
        for name, value in accuracies.items()
    ]


def _flips(accuracies: Mapping[str, Mapping[str, Any]]) -> str:
    from percbal.evaluate.accuracies import MEANS

    lines = [
        f"{name} {way}: {_listed(value[way])}"
        for name, value in accuracies.items()
        for way in ("gained", "lost")
        if value[way] and name not in MEANS
    ]
    return "\n".join(lines) or "no instance has flipped"


def _listed(places: Sequence[str]) -> str:
    rest = len(places) - SHOWN
    return ", ".join(places[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")
