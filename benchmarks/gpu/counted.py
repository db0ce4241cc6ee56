"""What counters.sh counts: statistics, two-pass and cluster kernel once each at full size.

ncu ... python -m gpu.counted > counters.csv
python -m gpu.counted --read counters.csv      # $RESULTS/facts.jsonl
"""

from __future__ import annotations

import contextlib
import csv
import sys
from collections import defaultdict
from pathlib import Path

from gpu.facts import REHEARSAL, Facts, NeedsGpu, Unsuitable
from gpu.inputs import PLAIN, cluster, make_rows, two_pass
from percbal_ops.losses.triton import launch as triton_kernels

ORDER = ("statistics", "two-pass", "cluster")


def launch() -> None:
    rows = make_rows(4096 if REHEARSAL else 152064)
    triton_kernels.token_cross_entropy(rows.logits, rows.target, None, *PLAIN)
    two_pass(rows)
    with contextlib.suppress(Unsuitable, NeedsGpu):
        cluster(rows)


def read(path: Path) -> dict[str, dict[str, str]]:
    """Launch -> metric -> value with its unit, from ncu's CSV, which other output may precede."""
    text = path.read_text().splitlines()
    heads = [i for i, line in enumerate(text) if line.startswith('"ID"')]
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for row in csv.DictReader(text[heads[0] :] if heads else []):
        name = ORDER[int(row["ID"])] if int(row["ID"]) < len(ORDER) else row["ID"]
        found[name]["kernel"] = row["Kernel Name"][:60]
        found[name][row["Metric Name"]] = f"{row['Metric Value']} {row['Metric Unit']}"
    return found


def main() -> None:
    if len(sys.argv) == 1:
        launch()
        return
    facts, found = Facts("counters"), read(Path(sys.argv[2]))

    def of(name: str) -> dict[str, object]:
        if not found and REHEARSAL:
            raise NeedsGpu("ncu counts on a GPU")
        if not found:
            raise Unsuitable("ncu is not installed, or may not count")
        return dict(found[name])

    for name in found or ORDER:
        facts.measure(name, lambda name=name: of(name))
    facts.exit()


if __name__ == "__main__":
    main()
