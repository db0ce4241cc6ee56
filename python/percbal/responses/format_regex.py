r"""The format that a regular expression describes, in time linear in the text.

The pattern is cut at its groups, as in ``Seen:(?P<perception>.*)Why:(?P<reasoning>.*)``. A group is
free text, and a part of its name; what stands before, between and after the groups are the marks.
Each mark must occur exactly once in the whole text and is searched for by itself, so no group is
ever tried again. Inside a mark a repeat takes all it can, at most 100 times, and gives nothing
back, no group can be repeated, and there are few choices: a pattern that takes more than linear
time cannot be written.
"""

from __future__ import annotations

import re

from percbal.responses.format_base import Format
from percbal.responses.reading import Part, Reading, Refusal, make_reading
from percbal.responses.spans import NAMES

MOST = 100  # times that a mark repeats anything
CHOICES = 8  # of | and ? in a mark; the ways to match it at one place double with each
GROUP = re.compile(r"\(\?P<(\w+)>(\.[*+]\??|)")
TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?:|.", re.DOTALL)
REPEAT = ("*", "+")
PLAIN = {r"\n": "\n", r"\t": "\t", r"\s": " "}  # how `write` writes an escape


class RegexFormat(Format):
    """Marks between parts, given as a regular expression."""

    name = "regex"

    def __init__(self, pattern: str) -> None:
        self.spec = f"regex:{pattern}"
        self.flags = re.MULTILINE | re.DOTALL
        if pattern.startswith("(?i)"):
            pattern, self.flags = pattern[4:], self.flags | re.IGNORECASE
        self.names, sources = _cut(pattern)
        self.sources = sources
        self.marks_between = [self._compiled(source) for source in sources]

    def _compiled(self, source: str) -> re.Pattern[str] | None:
        """None for no mark, at the start or the end of a pattern."""
        if not source:
            return None
        try:
            mark = re.compile(_guarded(source), self.flags)
        except re.error as error:
            raise ValueError(f"{source!r} is no regular expression: {error}") from None
        if mark.match(""):
            raise ValueError(f"the mark {source!r} of the pattern matches nothing at all")
        return mark

    def _read(self, text: str) -> Reading:
        places = [self._place(text, i) for i in range(len(self.sources))]
        known = [place for place in places if not isinstance(place, Refusal)]
        if any(a[1] > b[0] for a, b in zip(known, known[1:], strict=False)):
            why = Refusal("disordered", "the marks are not in the pattern's order")
            return make_reading(text, dict.fromkeys((*NAMES, *self.names), why))
        found: dict[str, Part | Refusal | None] = {}
        for name, before, after in zip(self.names, places, places[1:], strict=False):
            if isinstance(before, Refusal):
                found[name] = before
            elif isinstance(after, Refusal):
                found[name] = after
            else:
                inner = before[1], after[0]
                # a mark between two parts goes with the first
                start = before[0] if name == self.names[0] else before[1]
                found[name] = Part(text[slice(*inner)], (start, after[1]), inner)
        return make_reading(text, found)

    def _place(self, text: str, i: int) -> tuple[int, int] | Refusal:
        mark = self.marks_between[i]
        if mark is None:
            return (0, 0) if i == 0 else (len(text), len(text))
        first = mark.search(text)
        if first is None:
            return Refusal("no_mark", f"the mark {self.sources[i]!r} does not occur")
        if mark.search(text, first.end()):
            return Refusal("two_marks", f"the mark {self.sources[i]!r} occurs more than once")
        return first.span()

    def write(self, perception: str, reasoning: str, answer: str) -> str:
        texts = dict(zip(NAMES, (perception, reasoning, answer), strict=True))
        marks = [_plain(source, i) for i, source in enumerate(self.sources)]
        rest = [
            texts.get(name, "") + mark for name, mark in zip(self.names, marks[1:], strict=True)
        ]
        return marks[0] + "".join(rest)

    def beginning(self, perception: str) -> str:
        return _plain(self.sources[0], 0) + perception + _plain(self.sources[1], 1)

    def instruction(self) -> str | None:
        try:
            shown = self.write("(what the image shows)", "(your reasoning)", "(the final answer)")
        except ValueError:
            return None
        return f"Write your response in this form:\n{shown}"


def _cut(pattern: str) -> tuple[list[str], list[str]]:
    """Names of the groups, and what stands around them: one more mark than groups."""
    names, sources, at = [], [], 0
    for group in GROUP.finditer(pattern):
        name, end = group[1], group.end()
        if not group[2] or pattern[end : end + 1] != ")":
            raise ValueError(f"the group {name} of the pattern must be (?P<{name}>.*)")
        names.append(name)
        sources.append(pattern[at : group.start()])
        at = end + 1
    sources.append(pattern[at:])
    known = [name for name in names if name in NAMES]
    if (
        not names
        or names[0] != NAMES[0]
        or len({*names}) < len(names)
        or known != [name for name in NAMES if name in names]
    ):
        raise ValueError(
            "the pattern must have the group perception, then, if at all, reasoning and answer and "
            "others between or behind, each once, "
            f"got {', '.join(names) or 'none'}"
        )
    if not all(sources[1:-1]):
        raise ValueError("the pattern has no mark between two groups")
    if not sources[0] and not sources[1]:
        raise ValueError("the pattern has no mark around the group perception")
    return names, sources


def _guarded(source: str) -> str:
    """The mark with bounded repeats that give nothing back."""
    out: list[str] = []
    depth, before = 0, ""
    if sum(token in ("|", "?") for token in TOKEN.findall(source)) > CHOICES:
        raise ValueError(f"the mark {source!r} has more than {CHOICES} of | and ?")
    for token in TOKEN.findall(source):
        depth += {"(?:": 1, ")": -1}.get(token, 0)
        if token in REPEAT:
            if before in ("", "(?:", ")", "|", "?", ".", *REPEAT):
                raise ValueError(
                    f"{before + token!r} in the mark {source!r} is not taken: only one character "
                    "or a set such as [a-z] or \\s may be repeated, and free text is a group"
                )
            token = f"{{{0 if token == '*' else 1},{MOST}}}+"
        elif token in "({" or (token == "|" and depth == 0) or re.match(r"\\[1-9g]", token):
            raise ValueError(
                f"{token!r} in the mark {source!r} is not taken; write (?:a|b) or \\{token}"
            )
        out.append(token)
        before = token if token[0] != "{" else "*"
    return "".join(out)


def _plain(source: str, i: int) -> str:
    """A text that mark ``i`` matches; ValueError where it is not clear which."""
    out: list[str] = []
    for token in TOKEN.findall(source):
        if token == "*":
            out.pop()
        elif token == "+":
            continue
        elif token == "^":
            out.append("\n" if i or out else "")
        elif token in PLAIN or (token[0] == "\\" and not token[1].isalnum()):
            out.append(PLAIN.get(token, token[-1]))
        elif len(token) > 1 or token in ".?|)$":
            raise ValueError(
                f"no response can be written in the format of this pattern: {token!r} in the mark "
                f"{source!r} is not one text"
            )
        else:
            out.append(token)
    return "".join(out)
