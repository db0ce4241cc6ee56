"""What is said of a data set of which every row was tried: counts, lengths, and which rows fail."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
FEW = 20  # failures that are named
Pieces = list[tuple[str, str]]  # (a segment, prompt or other; its text)


@dataclass
class TriedRow:
    """What became of one row; all but the first two are of rows without a problem."""

    place: str
    problem: str | None = None
    tokens: int = 0  # of the whole row, images expanded
    segments: dict[str, int] = field(default_factory=dict)  # of these, trained on
    trained: int | None = None  # of the response, before max_length; None of a row without one
    images: list[tuple[int, int]] = field(default_factory=list)  # width, height
    pieces: Pieces = field(default_factory=list)  # of rows that are shown


@dataclass
class Check:
    """The rows that were tried so far. Its memory grows by numbers, not by rows.

    keep: how many failures are remembered by name; None for all.
    """

    max_length: int | None = None
    keep: int | None = FEW
    rows: int = 0
    failed: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, str]] = field(default_factory=list)  # place, why
    segments: Counter[str] = field(default_factory=Counter)  # tokens of each, in all rows
    cut: int = 0  # rows longer than max_length
    untrained: int = 0  # rows without a response to train on, by max_length or by themselves
    images: int = 0
    without_image: int = 0
    shown: list[TriedRow] = field(default_factory=list)
    lengths: dict[str, array[int]] = field(default_factory=dict)

    def add(self, row: TriedRow) -> None:
        self.rows += 1
        if row.problem is not None:
            self.failed += 1
            self.reasons[_reason(row.problem)] += 1
            if self.keep is None or len(self.failures) < self.keep:
                self.failures.append((row.place, row.problem))
            return
        self.segments.update(row.segments)
        self.cut += self.max_length is not None and row.tokens > self.max_length
        self.untrained += row.trained == 0
        self.images += len(row.images)
        self.without_image += not row.images
        self._measure("tokens", row.tokens)
        for name, tokens in row.segments.items():
            self._measure(f"{name} tokens", tokens)
        for width, height in row.images:
            self._measure("image width", width)
            self._measure("image height", height)
        if row.pieces:
            self.shown.append(row)

    def _measure(self, name: str, value: int) -> None:
        self.lengths.setdefault(name, array("q")).append(value)

    def quantiles(self) -> dict[str, list[int]]:
        """Name -> values at `QUANTILES`, of the rows without a problem."""
        return {name: _quantiles(values) for name, values in self.lengths.items()}

    def summary(self) -> list[str]:
        """Lines for people, but for the failures."""
        trained = sum(self.segments.values())
        lines = [
            f"{self.rows} rows, {self.failed} of them cannot be used",
            f"{self.images} images, {self.without_image} rows without one",
        ]
        if trained:
            shares = (f"{n / trained:.1%} {name}" for name, n in self.segments.items())
            lines.append(f"{trained} tokens to train on: {', '.join(shares)}")
        if self.max_length is not None:
            lines.append(f"{self.cut} rows are longer than max_length={self.max_length} and cut")
        if self.untrained:
            what = "token of a response" if "prompt" in self.segments else "token"
            lines.append(f"{self.untrained} rows have no {what} to train on")
        if self.lengths:
            head = "".join(f"{_percent(q):>8}" for q in QUANTILES)
            lines.append(f"{'quantiles':18}{head}")
            for name, values in self.quantiles().items():
                lines.append(f"{name:18}{''.join(f'{value:>8}' for value in values)}")
        return lines

    def failure_lines(self, most: int | None = FEW) -> list[str]:
        """Reasons with their counts, then the first rows that failed."""
        lines = [f"{count} x {reason}" for reason, count in self.reasons.most_common()]
        shown = self.failures[:most]
        left = self.failed - len(shown)
        lines += [f"{place}: {why}" for place, why in shown]
        return lines + ([f".. and {left} more"] if left else [])

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        names = ("rows", "failed", "cut", "untrained", "images", "without_image", "max_length")
        return {
            **{name: getattr(self, name) for name in names},
            **{name: self.segments[name] for name in ("perception", "reasoning")},
            "segments": dict(self.segments),
            "quantiles": {
                name: dict(zip(map(_percent, QUANTILES), values, strict=True))
                for name, values in self.quantiles().items()
            },
            "reasons": dict(self.reasons.most_common()),
            "failures": [{"row": place, "problem": why} for place, why in self.failures],
        }


def _quantiles(values: Sequence[int]) -> list[int]:
    """Each a value that occurs: the nearest rank."""
    ordered = sorted(values)
    return [ordered[round(q * (len(ordered) - 1))] for q in QUANTILES]


def _percent(quantile: float) -> str:
    return "least" if quantile == 0 else "most" if quantile == 1 else f"{quantile:.0%}"


def _reason(problem: str) -> str:
    """What problems of the same kind have in common: no names, no numbers."""
    problem = re.sub(r"'[^']*'|\"[^\"]*\"", "'..'", problem)
    problem = re.sub(r"\S*[/\\]\S*|\S+\.\w{2,5}\b", "..", problem)
    return re.sub(r"\d+", "N", problem)[:200]
