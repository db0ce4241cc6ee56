"""Which segments there are: their names, their weights, and what of a sequence goes to which.

A segment's id is its position among the names. Two are the default, perception and reasoning; a
configuration may name any others (`Segments.parse`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

OTHER = -1  # in no segment: image, padding, prompts and tags where they are not trained on
PARTS = ("perception", "reasoning", "answer", "think")  # that formats, or thoughts, mark
PROMPT = "prompt"
BALANCE = "balance"  # a weight that is left to the controller
NAME = re.compile(r"[A-Za-z]\w*")
TOLERANCE = 1e-6  # of a sum of weights


@dataclass(frozen=True)
class Segments:
    """The names of the segments, and the fixed weight of each; None is a share of the rest.

    Raises ValueError, one sentence, for names or weights that do not go together.
    """

    names: tuple[str, ...] = ("perception", "reasoning")
    weights: tuple[float | None, ...] = (None, None)

    def __post_init__(self) -> None:
        for name in self.names:
            if not NAME.fullmatch(name) or name == "other":
                raise ValueError(f"a segment's name is a word, and not other, got {name!r}")
            if self.names.count(name) > 1:
                raise ValueError(f"segments names {name} twice")
        if not set(self.names) - {PROMPT}:
            raise ValueError("segments must name a part of the response, such as reasoning")
        for name, weight in zip(self.names, self.weights, strict=True):
            if weight is not None and not 0 <= weight <= 1:
                raise ValueError(f"the weight of {name} must be in [0, 1], got {weight}")
        total = math.fsum(weight for weight in self.weights if weight is not None)
        shared = [n for n, w in zip(self.names, self.weights, strict=True) if w is None]
        if shared and total > 1 - TOLERANCE:
            raise ValueError(
                f"the fixed weights of segments sum to {total:g} and leave nothing to balance for "
                f"{', '.join(shared)}"
            )
        if not shared and abs(total - 1) > TOLERANCE:
            raise ValueError(f"the weights of segments must sum to 1, they sum to {total:g}")

    @classmethod
    def parse(cls, option: Mapping[str, Any] | Sequence[str] | str | None) -> Segments:
        """The segments that an option names; None is the two.

        option: ``{name: weight or "balance"}``, the same as JSON, or ``name=weight,name``.
        """
        if option is None:
            return TWO
        if isinstance(option, str):
            option = _mapping(option) if option.lstrip().startswith("{") else option.split(",")
        if not isinstance(option, Mapping):
            pairs = [str(entry).partition("=") for entry in option]
            names = [name.strip() for name, _, _ in pairs]
            values: list[Any] = [value.strip() or None for _, _, value in pairs]
        else:
            names, values = [str(name) for name in option], list(option.values())
        weights = [_weight(name, value) for name, value in zip(names, values, strict=True)]
        return cls(tuple(names), tuple(weights))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def prompt(self) -> int | None:
        """The id of prompts, None where they are not trained on."""
        return self.names.index(PROMPT) if PROMPT in self.names else None

    @property
    def rest(self) -> int:
        """The id of what nothing marks: reasoning, else the answer, else the last segment."""
        there = [name for name in self.names if name != PROMPT]
        name = next((name for name in ("reasoning", "answer") if name in there), there[-1])
        return self.names.index(name)

    @property
    def tags(self) -> dict[str, tuple[str, str]]:
        """Name -> its own tags, of segments that are no part of every format."""
        names = (name for name in self.names if name not in (*PARTS, PROMPT))
        return {name: (f"<{name}>", f"</{name}>") for name in names}

    @property
    def strongest_first(self) -> tuple[int, ...]:
        """All ids: a token that touches two segments goes to the first here."""
        names = ("perception", *self.tags, "answer", "think", PROMPT, "reasoning")
        ids = [self.names.index(name) for name in names if name in self.names]
        return (*(i for i in ids if i != self.rest), self.rest)

    def fixed_weights(self) -> tuple[float, ...]:
        """The weight of each segment. Raises ValueError where one is left to the controller."""
        fixed = [w for w in self.weights if w is not None]
        if len(fixed) < len(self.names):
            free = [n for n, w in zip(self.names, self.weights, strict=True) if w is None]
            raise ValueError(
                f"balance fixed needs the weight of every segment, and segments gives none to "
                f"{', '.join(free)}; the others sum to {math.fsum(fixed):g}"
            )
        return tuple(fixed)

    def refuse_weights(self, why: str) -> None:
        """Raise ValueError where a weight is given."""
        given = [
            f"{n}={w:g}" for n, w in zip(self.names, self.weights, strict=True) if w is not None
        ]
        if given:
            raise ValueError(f"{why}, got the weights {', '.join(given)} in segments")

    def id_of(self, kind: str) -> int:
        """The id of a type in the data, or of a part; one that is not named is reasoning.

        Raises ValueError for a type that nobody knows, and where there is no reasoning.
        """
        if kind == "other":
            return OTHER
        if kind in self.names and kind != PROMPT:
            return self.names.index(kind)
        if kind not in PARTS:
            named = (name for name in self.names if name != PROMPT)
            types = dict.fromkeys((*PARTS, *named, "other"))
            raise ValueError(f"the types are {', '.join(types)}")
        if "reasoning" not in self.names:
            raise ValueError(
                f"segments names neither {kind} nor reasoning but {', '.join(self.names)}"
            )
        return self.names.index("reasoning")


TWO = Segments()
PERCEPTION, REASONING = 0, 1  # their ids


def _mapping(text: str) -> Mapping[str, Any]:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"segments is no JSON object: {text!r:.80}") from None


def _weight(name: str, value: Any) -> float | None:
    if value is None or value == BALANCE:
        return None
    try:
        weight = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        weight = math.nan
    if math.isnan(weight):
        raise ValueError(f"the weight of {name} must be a number or {BALANCE}, got {value!r}")
    return weight
