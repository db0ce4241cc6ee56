"""A diagnosis as aligned tables, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from percbal.evaluate.diagnosis import Diagnosis
from percbal.evaluate.names import MEANING

HEADROOM = {
    "perception": "a_r - a: if every picture were seen rightly",
    "reasoning": "a_p - a: if those that are seen rightly were solved, and no others",
}


def result_text(result: Diagnosis) -> str:
    """The accuracies, the errors, and the accuracies by difficulty."""
    rows = [
        [name, *cells(accuracy._asdict()), str(accuracy.n), MEANING[name]]
        for name, accuracy in result.accuracies.items()
    ]
    parts = [table([["", "value", "95% interval", "n", ""], *rows])]
    room = [
        [name, *cells(found._asdict()), HEADROOM[name]] for name, found in result.headroom.items()
    ]
    parts.append(table([["headroom of a", "value", "95% interval", ""], *room]))
    if result.pass_at_k:
        ks = [
            [name, *(" ".join(cells(value._asdict())) for value in by_k.values())]
            for name, by_k in result.pass_at_k.items()
        ]
        parts.append(table([["", *(f"pass@{k}" for k in result.pass_at_k["a"])], *ks]))
    errors = [[name, str(count)] for name, count in result.errors.items() if count]
    parts.append(table([["error", "responses"], *errors]))
    if result.right_in_spite:
        parts.append(f"{result.right_in_spite} right answers in spite of a wrong perception")
    parts += [_by_difficulty(field) for field in result.difficulty if len(field["values"]) > 1]
    return "\n\n".join(parts)


def _by_difficulty(field: dict[str, Any]) -> str:
    names = [name for name in MEANING if name in field["values"][0]["accuracies"]]
    rows = [
        [value["label"], str(value["n"])]
        + [" ".join(cells(value["accuracies"].get(name, {}))) for name in names]
        for value in field["values"]
    ]
    return table([[field["name"], "n", *names], *rows])


def cells(accuracy: dict[str, Any]) -> list[str]:
    """Its value and its interval; a dash where there is none."""
    if accuracy.get("value") is None:
        return ["-", ""]
    return [f"{accuracy['value']:.3f}", f"[{accuracy['low']:.3f}, {accuracy['high']:.3f}]"]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns two spaces apart."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
