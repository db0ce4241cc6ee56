"""JSON in untrusted text: every object and list that stands in it, in one pass.

More than JSON is taken where it cannot be mistaken: values that are words without quotes (``-``,
``None``), a comma before a closing bracket, line breaks inside of strings. Nothing is read twice:
where a bracket turns out not to be one of JSON, the pass goes on from the place that shows it. So
the time is linear, and a stack of its own takes any depth.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

OPENING = re.compile(r"\[|\{(?=\s*+[\"}])")  # a key follows, or nothing
SPACE = re.compile(r"\s*+")
STRING = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
WORD = re.compile(r'[^\s,:\[\]{}"]++')
ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
MEANS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
CLOSING = {"{": "}", "[": "]"}


@dataclass(eq=False, slots=True)
class Value:
    """A value and where it stands; ``items`` of an object are (key, where it begins, value)."""

    kind: str  # "{", "[", '"' or "word"
    start: int
    end: int = -1
    items: list[Value] = field(default_factory=list)
    members: list[tuple[str, int, Value]] = field(default_factory=list)

    def source(self, text: str) -> str:
        return text[self.start : self.end]

    def text(self, text: str) -> str:
        """What a string says; of anything else its characters."""
        source = self.source(text)
        return unescaped(source[1:-1]) if self.kind == '"' else source


@dataclass
class Scan:
    """What one pass finds, in order."""

    whole: list[Value] = field(default_factory=list)  # in no other whole one
    broken: list[Value] = field(default_factory=list)  # began like JSON, and is none
    cut: Value | None = None  # not closed where the text ends


@dataclass(eq=False, slots=True)
class _Open(Value):
    """An object or a list that is being read, and what may come next."""

    key: tuple[str, int] | None = None
    wants: str = "first"  # first, value, colon, or next: a comma or the end

    def takes_text(self) -> bool:
        return self.wants in ("first", "value")

    def is_key(self) -> bool:
        return self.kind == "{" and self.key is None

    def add(self, value: Value) -> None:
        if self.key is None:
            self.items.append(value)
        else:
            self.members.append((*self.key, value))
        self.key, self.wants = None, "next"


def scan(text: str) -> Scan:
    """Every object and list in a text."""
    found, stack, at = Scan(), list[_Open](), 0
    while True:
        if not stack:
            opening = OPENING.search(text, at)
            if opening is None:
                return found
            stack.append(_Open(opening.group(), opening.start()))
            at = opening.end()
        at = _end(SPACE, text, at)
        if at >= len(text):
            break
        end = _step(text, at, stack, found)
        if end is None:  # a string that never ends
            break
        at = end
    if stack:
        found.cut = stack[0]
    return found


def _step(text: str, at: int, stack: list[_Open], found: Scan) -> int | None:
    """Take what stands at ``at``; returns where to go on."""
    top, char = stack[-1], text[at]
    if char == CLOSING[top.kind] and top.wants in ("first", "next", "value") and not top.key:
        top.end = at + 1
        stack.pop()
        if stack:
            stack[-1].add(top)
        else:
            found.whole.append(top)
        return at + 1
    if char == "," and top.wants == "next":
        top.wants = "value"
    elif char == ":" and top.wants == "colon":
        top.wants = "value"
    elif char == '"' and top.takes_text():
        end = _end(STRING, text, at)
        if end == at:
            return None
        value = Value('"', at, end)
        if top.is_key():
            top.key, top.wants = (value.text(text), at), "colon"
        else:
            top.add(value)
        return end
    elif top.takes_text() and not top.is_key() and char in "[{":
        stack.append(_Open(char, at))
    elif top.takes_text() and not top.is_key() and (end := _end(WORD, text, at)) > at:
        top.add(Value("word", at, end))
        return end
    else:
        _give_up(stack, found)
        return at
    return at + 1


def _give_up(stack: list[_Open], found: Scan) -> None:
    """None of what is open is JSON, but what is closed in it is."""
    found.broken.append(stack[0])
    for open_one in stack:
        values = [*open_one.items, *(value for _, _, value in open_one.members)]
        found.whole += [value for value in values if value.kind in CLOSING]
    stack.clear()


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Where a match ends that begins at ``at``; ``at`` without one."""
    match = pattern.match(text, at)
    return at if match is None else match.end()


def unescaped(text: str) -> str:
    """The text of a JSON string; an escape that JSON does not know stays as it is."""
    if "\\" not in text:
        return text
    out = ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else MEANS.get(m[2], m[2]), text)
    # two halves of a character become one; a half alone cannot be encoded
    return out.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
