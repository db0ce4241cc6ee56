"""What a format finds in one response: the parts that count, and why the others do not.

Every format has the same last word here: a part that holds one of the default tags does not count,
since it could not be told from its own marks later, and parts out of order count not at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from percbal.responses.spans import DEFAULT_TAGS, NAMES

Area = tuple[int, int]  # first and last (excluded) character
LONGEST = 100_000  # characters; no perception and no answer takes so many


class Part(NamedTuple):
    """A part that counts."""

    text: str  # what it says; in JSON not always the characters of ``inner``
    outer: Area  # with its marks
    inner: Area  # without them


class Refusal(NamedTuple):
    """Why something does not count."""

    reason: str  # a word to count by, such as "missing"
    problem: str  # one short sentence


def too_long(text: str) -> Refusal | None:
    """Of a text that is longer than any perception or answer, and is not read."""
    if len(text) <= LONGEST:
        return None
    return Refusal("too_long", f"the text has more than {LONGEST} characters")


@dataclass(frozen=True)
class Reading:
    """One response as its format reads it; each of the three names is in one of the two.

    So is any further part that the format has.
    """

    source: str
    parts: Mapping[str, Part]
    refusals: Mapping[str, Refusal]

    @property
    def perception(self) -> str | None:
        return self.text("perception")

    @property
    def reasoning(self) -> str | None:
        return self.text("reasoning")

    @property
    def answer(self) -> str | None:
        return self.text("answer")

    def text(self, name: str) -> str | None:
        """What the part says, None where it does not count."""
        part = self.parts.get(name)
        return None if part is None else part.text

    def problem(self, name: str) -> str:
        """Why the part does not count, in a sentence; empty where it does."""
        return self.refusals[name].problem if name in self.refusals else ""

    def reason(self, name: str = "perception") -> str:
        """The same as a word to count by."""
        return self.refusals[name].reason if name in self.refusals else ""

    def moved(self, source: str, by: int) -> Reading:
        """The same parts in a longer text, ``by`` characters further on."""
        parts = {
            name: Part(text, (a + by, b + by), (c + by, d + by))
            for name, (text, (a, b), (c, d)) in self.parts.items()
        }
        return Reading(source, parts, self.refusals)

    def tagged(self) -> str:
        """The parts that count between the default tags, in order."""
        pairs = DEFAULT_TAGS.pairs()
        texts = [(pairs[name], self.parts[name].text) for name in NAMES if name in self.parts]
        return " ".join(f"{opening}{text}{closing}" for (opening, closing), text in texts)


def make_reading(source: str, found: Mapping[str, Part | Refusal | None]) -> Reading:
    """The reading of what a format found; None, or no entry, is a part that is not there."""
    judged = {name: _judged(name, found.get(name)) for name in dict.fromkeys((*NAMES, *found))}
    parts = {name: part for name, part in judged.items() if isinstance(part, Part)}
    three = [name for name in NAMES if name in parts]
    in_order = sorted(three, key=lambda name: parts[name].outer[0])
    if in_order != three:
        why = Refusal("disordered", f"the parts are in the order {', '.join(in_order)}")
        judged.update(dict.fromkeys(three, why))
        parts = {name: part for name, part in parts.items() if name not in three}
    refusals = {name: why for name, why in judged.items() if isinstance(why, Refusal)}
    return Reading(source, parts, refusals)


def count_reasons(readings: Iterable[Reading]) -> dict[str, int]:
    """How often each part did not count, and why: ``{"perception missing": 3, ..}``, for logs."""
    return dict(
        Counter(
            f"{name} {refusal.reason}"
            for reading in readings
            for name, refusal in reading.refusals.items()
        )
    )


def _judged(name: str, found: Part | Refusal | None) -> Part | Refusal:
    if isinstance(found, Refusal):
        return found
    if found is None or found.outer[0] == found.outer[1]:
        return Refusal("missing", f"there is no {name}")
    inside = next((tag for tag in DEFAULT_TAGS.words() if tag in found.text), None)
    if inside:
        return Refusal("tag_inside", f"{inside} occurs inside the {name}")
    return found
