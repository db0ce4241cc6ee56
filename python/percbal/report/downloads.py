"""The numbers behind a page as CSV and JSON, in addresses that the page carries itself."""

from __future__ import annotations

import base64
import csv
import io
import json
from typing import Any

from percbal.report.results import Result

LONGEST = 1_000_000  # characters of a CSV; with more instances the page goes without
COLUMNS = (
    *("error", "a", "a_p", "a_r", "a_r_text", "reasoning", "perception_f1", "parsed", "reason"),
    *("cut", "cut_reasoned", "cut_text"),
)


def figures_json(results: list[Result]) -> str:
    """Everything but the records."""
    return json.dumps(
        [{name: v for name, v in r.data.items() if name != "records"} for r in results], indent=1
    )


def instances_csv(results: list[Result]) -> str:
    """One line a completion, without its texts."""
    levels = dict.fromkeys(
        name for result in results for r in result.data["records"] for name in r["difficulty"]
    )
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["model", "index", "place", "sample", *COLUMNS, *map(_cell, levels)])
    for result in results:
        for record in result.data["records"]:
            hard = [record["difficulty"].get(name) for name in levels]
            for sample, trial in enumerate((record, *record["further"])):
                head = [result.name, record["index"], record["place"], sample]
                values = [*head, *(trial[name] for name in COLUMNS), *hard]
                writer.writerow(map(_cell, values))
    return out.getvalue()


def _cell(value: Any) -> Any:
    """Truths as 0 and 1; no text that a spreadsheet takes for a formula."""
    if isinstance(value, bool):
        return int(value)
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" and value else value


def address(text: str, kind: str) -> str:
    """``text`` in a data URL; half a surrogate pair, which UTF-8 has not, as a question mark."""
    return f"data:{kind};base64,{base64.b64encode(text.encode(errors='replace')).decode()}"
