r"""Where an answer stands in a text without marks: after ``Final answer:``, or in ``\boxed{}``.

Two such places are none, whatever they say.
"""

from __future__ import annotations

import re

from percbal.responses.reading import Area, Part, Refusal

# "Answer:", "**Final Answer:** 4", "- The answer is: 4", and the heading "### Final answer"
LABEL = re.compile(
    r"^[ \t#>*_]*+(?:(?:[-+•]|\d{1,2}[.)])[ \t][ \t*_]*+)?"
    r"(?P<words>(?:the[ ])?(?:final[ ])?answer(?:[ ]is)?)(?P<closed>[*_]*+)(?::|[ \t]*+$)",
    re.IGNORECASE | re.MULTILINE,
)
RUN = re.compile(r"(?:(?<!\*)\*++|(?<!_)_++)$")
OPENING = re.compile(r"(?:\*{1,3}|_{1,3})(?=[^\s*_])")
SPACE = re.compile(r"\s*+")
BOX = re.compile(r"\\boxed\{")
BRACE = re.compile(r"[{}]")


def final_answer(text: str, start: int = 0) -> Part | Refusal:
    """The only answer that is marked as one from ``start`` on."""
    labels = list(LABEL.finditer(text, start))
    boxes = _boxes(text, start)
    if len(labels) > 1:
        return Refusal("two_answers", f"an answer is announced {len(labels)} times")
    if labels:
        outside = [box for box in boxes if box.outer[0] < labels[0].start()]
        if outside or len(boxes) > 1:
            return Refusal("two_answers", "there is a boxed answer beside the announced one")
        if boxes:
            said, inner = boxes[0].text, boxes[0].inner
        else:
            said, inner = _unmarked(text, labels[0])
        if inner[0] == inner[1]:
            return Refusal("missing", "nothing follows where the answer is announced")
        return Part(said, (labels[0].start(), len(text)), inner)
    if len(boxes) > 1:
        return Refusal("two_answers", f"there are {len(boxes)} boxed answers")
    return boxes[0] if boxes else Refusal("missing", "no answer is announced or boxed")


def _boxes(text: str, start: int) -> list[Part]:
    """Every closed box that is in no other one."""
    boxes: list[Part] = []
    at = start
    while (opening := BOX.search(text, at)) is not None:
        depth, at = 1, opening.end()
        while depth and (brace := BRACE.search(text, at)) is not None:
            depth += 1 if brace.group() == "{" else -1
            at = brace.end()
        if depth:
            return boxes
        inner = opening.end(), at - 1
        boxes.append(Part(text[slice(*inner)], (opening.start(), at), inner))
    return boxes


def _unmarked(text: str, label: re.Match[str]) -> tuple[str, Area]:
    """What follows the label and where, without space and without the marks of bold or italics
    that begin in the label or with the answer. ``**Answer: 42**`` is 42; ``_ 1 _ 2`` has none."""
    run = RUN.search(text, label.start(), label.start("words"))
    mark = run[0] if run and not label["closed"] else ""
    start = _after_space(text, label.end())
    for at in (label.end(), start):  # **Answer:** 42, **Answer: ** 42
        if mark and text.startswith(mark, at):
            start, mark = _after_space(text, at + len(mark)), ""
    closing = _closing(text, mark, start) if mark else None
    opening = None if closing else OPENING.match(text, start)
    if opening:
        line = text.find("\n", start)
        closing = _closing(text, opening[0], opening.end(), len(text) if line < 0 else line)
        if closing or opening[0][0] == "*":  # underscores may be empty cells
            start = opening.end()
    end = max(start, len(text.rstrip()))
    if closing is None or closing[0] < start:
        return text[start:end], (start, end)
    if closing[1] == end:
        return text[start : closing[0]], (start, closing[0])
    return text[start : closing[0]] + text[closing[1] : end], (start, end)


def _closing(text: str, run: str, start: int, end: int | None = None) -> Area | None:
    """The first marks that can close such marks; those of a word's middle cannot."""
    mark = re.escape(run[0])
    pattern = rf"(?<![\s{mark}]){mark}{{{len(run)}}}(?![{mark}\w])"
    found = re.compile(pattern).search(text, start, len(text) if end is None else end)
    return found.span() if found else None


def _after_space(text: str, start: int) -> int:
    space = SPACE.match(text, start)
    return space.end() if space else start
