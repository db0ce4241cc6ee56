"""Draw benchmark tables: one panel per work and dtype, time over vocabulary, a line per provider.

    python benchmarks/plot.py benchmarks/results/*.csv      # writes <name>.svg beside each

A table is a CSV with at least the columns work, provider, vocab, dtype and ms; rows without a time
(skipped, or a machine's own speed) are left out. Where a column `cache` exists, cold rows count.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path

Lines = dict[str, list[tuple[int, float]]]  # provider -> (vocab, ms), ascending


def panels(path: Path) -> dict[tuple[str, str], Lines]:
    """(work, dtype) -> lines of the table at `path`."""
    found: dict[tuple[str, str], Lines] = defaultdict(lambda: defaultdict(list))
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            missing = {"work", "provider", "vocab", "dtype", "ms"} - row.keys()
            if missing:
                raise ValueError(f"{path} has no column {', '.join(sorted(missing))}")
            if row["ms"] and row.get("cache", "cold") in ("cold", ""):
                point = int(row["vocab"]), float(row["ms"])
                found[row["work"], row["dtype"]][row["provider"]].append(point)
    return {
        panel: {provider: sorted(points) for provider, points in lines.items()}
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
        for provider, points in lines.items():
            axis.plot(*zip(*points, strict=True), marker="o", label=provider)
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
