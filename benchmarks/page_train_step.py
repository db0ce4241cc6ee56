"""The tables of a training step in docs/train.md, from results/train_step.json.

python benchmarks/page_train_step.py    # after bench_train_step.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from percbal.report.marked import marked, write_marked

ROOT = Path(__file__).parents[1]
PAGE, DATA = ROOT / "docs" / "train.md", Path(__file__).parent / "results" / "train_step.json"
COLUMNS = ("", "time", "95% interval", "whole run", "peak memory", "seconds", "MiB", "run")


def table(rows: list[dict[str, Any]]) -> str:
    """A table for each size of model and what it was measured beside, in units of whose step."""
    if not rows:
        return "Not measured yet.\n"
    runs = sorted({run_of(row) for row in rows if "refused" not in row})
    names = {run: chr(ord("A") + i) for i, run in enumerate(runs)}
    lines = ["| run | measured on |", "|---|---|", *(f"| {names[run]} | {run} |" for run in runs)]
    for title in dict.fromkeys(map(title_of, rows)):
        lines += ["", f"{title}:", "", f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
        here = [row for row in rows if title_of(row) == title]
        lines += [f"| {' | '.join(cells(row, names))} |" for row in here]
        lines += [line for row in here for line in rollouts(row)]
    return "\n".join(lines) + "\n"


def run_of(row: dict[str, Any]) -> str:
    """The machine and the code that a row is from."""
    return "{device}, torch {torch}, commit {commit}, {date}".format(**row)


def title_of(row: dict[str, Any]) -> str:
    return f"{row['size']}, beside {row['beside'].removesuffix(', chunked')}"


def cells(row: dict[str, Any], runs: dict[str, str]) -> list[str]:
    if "refused" in row:
        return [row["name"], "-", "", "", "", "", row["refused"], ""]
    return [
        row["name"],
        f"{row['time_ratio']:.2f}",
        f"{row['low']:.2f} to {row['high']:.2f} ({row['pairs']} pairs)",
        f"{row['total_ratio']:.2f}",
        "-" if row["peak_ratio"] is None else f"{row['peak_ratio']:.2f}",
        f"{row['seconds']:.3g} / {row['seconds_beside']:.3g}",
        " / ".join(f"{(row[k] or 0) / 2**20:.0f}" for k in ("peak", "peak_beside")),
        runs[run_of(row)],
    ]


def rollouts(row: dict[str, Any]) -> list[str]:
    """What sampling took of a step of GRPO, and the rest of the step alone."""
    if "sampling" not in row:
        return []
    ours, its = row["sampling"]
    ratio, low, high = row["rest"]
    return [
        "",
        f"Of {row['name']}, {ours:.3g} / {its:.3g} seconds are rollouts, which both sample alike. "
        f"The rest of the step takes {ratio:.2f} of the time ({low:.2f} to {high:.2f}).",
    ]


def committed() -> list[dict[str, Any]]:
    return json.loads(DATA.read_text()) if DATA.exists() else []


def shown() -> str:
    """The tables as the page has them."""
    return marked(PAGE, "steps")


if __name__ == "__main__":
    write_marked(PAGE, "steps", table(committed()))
