"""Formats in which the perception comes first and what follows has no marks of its own.

The answer is what `percbal.responses.final_answer` finds behind the perception, the reasoning what
stands between the two.
"""

from __future__ import annotations

import re
from abc import abstractmethod

from percbal.responses.final_answer import final_answer
from percbal.responses.format_base import Format
from percbal.responses.json_text import Value, scan
from percbal.responses.reading import Part, Reading, Refusal, make_reading

ESCAPES = {"\\n": "\n", "\\t": "\t", "\\\\": "\\"}
FENCE = re.compile(r"^[ \t]*+(`{3,}+|~{3,}+)([^\n`]*+)$", re.MULTILINE)
LIST = re.compile(r"\[\s*+[\[\d\"'_.-]")  # not a word in brackets


class _PerceptionFirst(Format):
    """A perception that can be told, then text."""

    @abstractmethod
    def perceived(self, text: str) -> Part | Refusal:
        """The perception alone."""

    def answered(self, text: str, start: int) -> Part | Refusal:
        return final_answer(text, start)

    def _read(self, text: str) -> Reading:
        seen = self.perceived(text)
        start = seen.outer[1] if isinstance(seen, Part) else 0
        said = self.answered(text, start)
        if isinstance(seen, Refusal):  # then nobody knows where the reasoning begins
            return make_reading(text, {"perception": seen, "answer": said})
        end = said.outer[0] if isinstance(said, Part) else len(text)
        thought = (
            Part(text[start:end], (start, end), (start, end)) if text[start:end].strip() else None
        )
        return make_reading(text, {"perception": seen, "reasoning": thought, "answer": said})

    def write(self, perception: str, reasoning: str, answer: str) -> str:
        return f"{self.beginning(perception)}\n\n{reasoning}\n\nFinal answer: {answer}"


class FenceFormat(_PerceptionFirst):
    """The perception is the only fenced block, or the only one of a language."""

    name = "fence"

    def __init__(self, language: str = "") -> None:
        if language and not re.fullmatch(r"[^\s`~]+", language):
            raise ValueError(f"the language of a fence is one word, got {language!r}")
        self.language = language
        self.spec = f"fence:{language}" if language else "fence"

    def perceived(self, text: str) -> Part | Refusal:
        blocks: list[Part | None] = []  # None is one without an end
        opening: re.Match[str] | None = None
        for line in FENCE.finditer(text):
            if opening is None:
                opening = line
            elif line[1].startswith(opening[1]) and not line[2].strip():
                blocks += self._ours(text, opening, line)
                opening = None
        if opening is not None:
            blocks += self._ours(text, opening, None)
        what = f"{self.language} block" if self.language else "fenced block"
        if len(blocks) > 1:
            return Refusal("two_fences", f"there are {len(blocks)} {what}s")
        if not blocks:
            return Refusal("no_fence", f"there is no {what}")
        return blocks[0] or Refusal("unclosed", f"the {what} has no end")

    def _ours(
        self, text: str, opening: re.Match[str], closing: re.Match[str] | None
    ) -> list[Part | None]:
        """The block as a list of one, empty for another language."""
        words = opening[2].split()
        if self.language and [w.casefold() for w in words[:1]] != [self.language.casefold()]:
            return []
        if closing is None:
            return [None]
        inner = opening.end() + 1, max(closing.start() - 1, opening.end() + 1)
        return [Part(text[slice(*inner)], (opening.start(), closing.end()), inner)]

    def beginning(self, perception: str) -> str:
        return f"```{self.language}\n{perception}\n```"

    def instruction(self) -> str:
        return (
            f"First write what the image shows in one code block that begins with "
            f"```{self.language} and ends with ```. Then write your reasoning without code blocks, "
            'and end with "Final answer:" and the answer.'
        )


class SeparatorFormat(_PerceptionFirst):
    r"""The perception is all that stands before the only separator.

    separator: in it \n is a new line, \t a tab and \\ a backslash.
    """

    name = "separator"

    def __init__(self, separator: str) -> None:
        self.spec = f"separator:{separator}"
        pattern = re.compile(r"\\[nt\\]")
        self.separator = pattern.sub(lambda match: ESCAPES[match.group()], separator)
        if not self.separator:
            raise ValueError("a separator must not be empty, as in separator:---")
        self.fixed = (self.separator,) if self.separator.strip() else ()

    def perceived(self, text: str) -> Part | Refusal:
        at = text.find(self.separator)
        if at < 0:
            return Refusal("no_separator", f"{self.separator!r} does not occur")
        if text.find(self.separator, at + 1) >= 0:
            return Refusal("two_separators", f"{self.separator!r} occurs more than once")
        return Part(text[:at], (0, at + len(self.separator)), (0, at))

    def beginning(self, perception: str) -> str:
        return f"{perception}{self.separator}"

    def write(self, perception: str, reasoning: str, answer: str) -> str:
        return f"{self.beginning(perception)}{reasoning}\n\nFinal answer: {answer}"

    def instruction(self) -> str:
        shown = self.separator.strip()
        shown = f'"{shown}"' if shown else "an empty line"
        return (
            f"First write what the image shows, then {shown} once, then your reasoning, and end "
            'with "Final answer:" and the answer.'
        )


class PaperFormat(_PerceptionFirst):
    """The paper's prompt: first the image as a JSON list, then the reasoning, then the answer.

    The perception is the first list of the response, and the answer what is announced or boxed,
    else the last list or object.
    """

    name = "paper"
    asks = {
        "sudoku": "First, describe the Sudoku grid in the image as a 9x9 JSON list, where each "
        'cell is represented by an integer (1-9) or "-" for an empty cell. Then, reason step by '
        "step. Finally, give the completed grid as a 9x9 JSON list.",
        "coloring": "First, describe the graph in the image as a JSON list of its edges, each a "
        "pair of vertices. Then, reason step by step. Finally, give the coloring as a JSON object "
        'from vertices to colors, such as {"0": "a", "1": "b"}.',
    }

    def __init__(self, task: str = "sudoku") -> None:
        if task not in self.asks:
            raise ValueError(f"paper:TASK knows {', '.join(self.asks)}, got {task!r}")
        self.task = task
        self.spec = "paper" if task == "sudoku" else f"paper:{task}"

    def perceived(self, text: str) -> Part | Refusal:
        found = scan(text)
        lists = [value for value in found.whole if LIST.match(text, value.start)]
        lost = [value for value in found.broken if LIST.match(text, value.start)]
        first = lists[0].start if lists else len(text)
        if any(value.start <= first for value in lost):
            return Refusal("broken", "the first list is not valid JSON")
        if lists:
            return _whole(text, lists[0])
        if found.cut is not None and LIST.match(text, found.cut.start):
            return Refusal("unclosed", "the first list has no end")
        return Refusal("no_list", "there is no JSON list")

    def answered(self, text: str, start: int) -> Part | Refusal:
        announced = final_answer(text, start)
        if isinstance(announced, Part) or announced.reason != "missing":
            return announced
        later = [value for value in scan(text).whole if value.start >= start > 0]
        return _whole(text, later[-1]) if later else announced

    def beginning(self, perception: str) -> str:
        return perception

    def instruction(self) -> str:
        return self.asks[self.task]


class NoFormat(Format):
    """Nothing is perception; the answer is what is announced as one, else the whole response."""

    name = spec = "none"

    def _read(self, text: str) -> Reading:
        said = final_answer(text)
        if isinstance(said, Refusal) and said.reason == "missing" and text.strip():
            said = Part(text, (0, len(text)), (0, len(text)))
        nothing = Refusal("no_format", "without a format nothing is perception")
        thought = Refusal("no_format", "without a format nothing is reasoning")
        return make_reading(text, {"perception": nothing, "reasoning": thought, "answer": said})

    def write(self, perception: str, reasoning: str, answer: str) -> str:
        return f"{perception}\n\n{reasoning}\n\nFinal answer: {answer}"

    def beginning(self, perception: str) -> str:
        return f"{perception}\n\n"

    def instruction(self) -> None:
        return None


def _whole(text: str, value: Value) -> Part:
    area = value.start, value.end
    return Part(text[slice(*area)], area, area)
