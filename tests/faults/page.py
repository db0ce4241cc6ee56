"""The counts of docs/reliability.md, from what suite.py left in a directory."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from percbal.report.marked import write_marked

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results" / "reliability.json"
PAGE = ROOT / "docs" / "reliability.md"


def counted(folder: Path) -> list[dict]:
    """For each training and disturbance how many were tried, went on bit-equal, were refused."""
    rows = []
    for path in sorted(folder.glob("*.json")):
        found = json.loads(path.read_text())
        cases = found["cases"]
        good = [case for case in cases if case["survived"]]
        refused = sum(case["how"].startswith("refused") for case in good)
        rows.append(
            {
                "training": found["kind"],
                "disturbance": found["disturbance"],
                "tried": len(cases),
                "as undisturbed": len(good) - refused,
                "refused by name": refused,
                "not survived": len(cases) - len(good),
            }
        )
    return [row for row in rows if row["tried"]]


def table(rows: list[dict]) -> str:
    """Markdown."""
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([str(row[name]) for name in head] for row in rows)]
    total = {name: sum(row[name] for row in rows) for name in head[2:]}
    lines.append(["**all**", "", *(f"**{total[name]}**" for name in head[2:])])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main(folder: Path) -> None:
    """What was not tried again keeps its counts; a disturbance that is gone has none."""
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    suite = (Path(__file__).with_name("suite.py")).read_text()
    known = [row for row in known if f'"{row["disturbance"]}"' in suite]
    by_name = {(row["training"], row["disturbance"]): row for row in known + counted(folder)}
    rows = [by_name[name] for name in sorted(by_name)]
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    write_marked(PAGE, "counts", table(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
