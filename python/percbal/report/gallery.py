"""Which instances a page shows one by one, and what it shows of each."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice, zip_longest
from typing import Any

from percbal.report.findings import KINDS
from percbal.report.marks import marks
from percbal.report.pictures import Opener, pictures
from percbal.report.results import Result

LONGEST = 4000  # characters of a text
MOST_PARTS = 400  # of a table of parts
TEXTS = {
    "completion": "From the image",
    "reasoned": "After the right perception",
    "text_completion": "From the right perception as text, without the image",
}


def chosen(result: Result, most: int) -> list[Mapping[str, Any]]:
    """Up to ``most`` records, in turn one of each error in the order of ``KINDS``, each error's
    in the order of the file; then sorted by error."""
    by_error = {e: [r for r in result.data["records"] if r["error"] == e] for e in KINDS}
    turns = (record for turn in zip_longest(*by_error.values()) for record in turn if record)
    return sorted(islice(turns, most), key=lambda record: [*KINDS].index(record["error"]))


def gallery(result: Result, most: int, opened: Opener | str) -> dict[str, Any]:
    """Items, the number of each error among them, a sentence about missing pictures, and whether
    any picture is marked. opened: of `percbal.report.pictures.opener`."""
    records = chosen(result, most)
    shown, missing = pictures(records, opened)
    items = [
        {
            **record,
            "picture": shown.get(record["index"]),
            "marks": marks(
                record.get("wrong_parts", []),
                record.get("wrong_answers", []),
                shown.get(record["index"]),
            ),
            "texts": [(title, _cut(record[key])) for key, title in TEXTS.items() if record[key]],
            "tables": {name: few(table) for name, table in record["marked"].items()},
            "query": _cut(record["query"]),
            "perception": _cut(record["perception"]),
            "samples": [record["a"], *(trial["a"] for trial in record["further"])],
        }
        for record in records
    ]
    counts = {error: sum(record["error"] == error for record in records) for error in KINDS}
    marked = any(item["marks"]["drawn"] for item in items)
    return {"items": items, "shown": counts, "missing": missing, "marked": marked}


def _cut(text: str) -> str:
    more = len(text) - LONGEST
    return text if more <= 0 else f"{text[:LONGEST]} ... ({more} more characters in the JSON)"


def few(table: list[list[Any]]) -> dict[str, Any]:
    """Rows of a table, or parts one after another where it has one column."""
    wrong = sum(not right for row in table for _, right in row)
    rows = table[: max(1, MOST_PARTS // max(1, *map(len, table)))]
    return {
        "rows": [row[:MOST_PARTS] for row in rows],
        "list": all(len(row) == 1 for row in table),
        "wrong": wrong,
        "more": len(table) - len(rows),
    }
