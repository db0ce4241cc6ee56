r"""Where an answer stands in a text without marks: after ``Final answer:``, or in ``\boxed{}``.

Two such places are none, whatever they say.
"""

from __future__ import annotations

import re

from percbal.responses.reading import Part, Refusal

# "Answer:", "**Final Answer:** 4", "The answer is: 4", and the heading "### Final answer"
LABEL = re.compile(
    r"^[ \t#>*_]*+(?:the[ ])?(?:final[ ])?answer(?:[ ]is)?[*_]*+(?::[ \t*_]*+|[ \t]*+$)",
    re.IGNORECASE | re.MULTILINE,
)
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
        inner = boxes[0].inner if boxes else _stripped(text, labels[0].end(), len(text))
        if inner[0] == inner[1]:
            return Refusal("missing", "nothing follows where the answer is announced")
        return Part(text[slice(*inner)], (labels[0].start(), len(text)), inner)
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


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    """The same place without the space around."""
    inside = text[start:end]
    left = len(inside) - len(inside.lstrip())
    return start + left, max(start + left, start + len(inside.rstrip()))
