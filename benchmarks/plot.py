"""Draw benchmark tables: one panel per work and dtype, time over vocabulary, a line per contestant.

    python benchmarks/plot.py benchmarks/results/*.csv      # writes <name>.svg beside each

A table is what common.write_csv writes. Rows without a time (skipped) are left out.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path

Lines = dict[str, list[tuple[int, float]]]  # who -> (vocab, ms), ascending


def panels(path: Path) -> dict[tuple[str, str], Lines]:
    """(work, dtype) -> lines of the table at `path`."""
    found: dict[tuple[str, str], Lines] = defaultdict(lambda: defaultdict(list))
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            missing = {"work", "who", "shape", "dtype", "ms"} - row.keys()
            if missing:
                raise ValueError(f"{path} has no column {', '.join(sorted(missing))}")
            if row["ms"]:
                point = int(row["shape"].split("x")[-1]), float(row["ms"])
                found[row["work"], row["dtype"]][row["who"]].append(point)
    return {
        panel: {who: sorted(points) for who, points in lines.items()}
        for panel, lines in found.items()
    }


def draw(path: Path) -> Path:
    """Write <name>.svg beside the table and return where."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    found = panels(path)
    if not found:
        raise ValueError(f"{path} holds no times")
    figure, axes = plt.subplots(1, len(found), figsize=(5 * len(found), 4), squeeze=False)
    for axis, ((work, dtype), lines) in zip(axes[0], found.items(), strict=True):
        for who, points in lines.items():
            axis.plot(*zip(*points, strict=True), marker="o", label=who)
        axis.set(title=f"{work}, {dtype}", xlabel="vocabulary", ylabel="ms", ylim=(0, None))
    axes[0][0].legend(fontsize="small")
    out = path.with_suffix(".svg")
    figure.tight_layout()
    figure.savefig(out)
    plt.close(figure)
    return out


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(draw(Path(name)))
