"""docs/families.md from the results of the family tests; run by `make test-families`.

``python page_families.py LINES``: the file that PERCBAL_FAMILIES_OUT named. What it shows is kept
in docs/results/families.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from percbal.report.marked import marked, write_marked

DOCS = Path(__file__).parents[2] / "docs"
PAGE, DATA = DOCS / "families.md", DOCS / "results" / "families.json"
COLUMNS = {  # column -> how the names of its checks begin
    "SFT": ("a step of token mean", "a batch has the losses"),
    "mask": ("perception tokens spell", "no image token is trained"),
    "text rows": ("each row of a mixed batch", "grpo takes rows with and without"),
    "prompts": ("rollouts are asked", "a diagnosis asks"),
    "GRPO": ("every rollout of a batch", "the token that an image", "a step is made"),
    "vLLM": ("an engine is asked", "a server is told"),
    "memorised": ("a memorising model",),
    "diagnosed": ("the command diagnoses",),
    "LoRA": ("lora moves",),
    "tower": ("a frozen tower", "the tower can have"),
    "resume": ("a resumed run",),
}


def collected(lines: list[str]) -> dict[str, dict[str, list[int]]]:
    """Family -> column -> [checks that passed, checks]."""
    table: dict[str, dict[str, list[int]]] = {}
    for row in map(json.loads, lines):
        column = next((c for c, names in COLUMNS.items() if row["check"].startswith(names)), None)
        if column is None:
            raise ValueError(f"no column of docs/families.md has the check {row['check']!r}")
        cell = table.setdefault(row["family"], {}).setdefault(column, [0, 0])
        cell[0] += bool(row["ok"])
        cell[1] += 1
    return table


def table(results: dict[str, dict[str, list[int]]]) -> str:
    lines = [f"| family | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for family, cells in results.items():
        shown = ["{} of {}".format(*cells.get(column, (0, 0))) for column in COLUMNS]
        lines.append(f"| {family} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def shown() -> str:
    """The table as the page has it."""
    return marked(PAGE, "results")


if __name__ == "__main__":
    found = collected(Path(sys.argv[1]).read_text().splitlines())
    order = list(json.loads(DATA.read_text())) if DATA.exists() else []
    found = {
        name: found[name] for name in [*order, *sorted(set(found) - set(order))] if name in found
    }
    DATA.write_text(json.dumps(found, indent=1) + "\n")
    write_marked(PAGE, "results", table(found))
