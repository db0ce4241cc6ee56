"""What every response format offers."""

from __future__ import annotations

from abc import ABC, abstractmethod

from percbal.responses.reading import Area, Reading
from percbal.responses.thoughts import response_start


class Format(ABC):
    """How a response marks its parts, how a prompt says so, and how any text is read.

    name, spec: its kind, and the option string that it is made from.
    fixed: the marks that are plain text; decoding must not drop them.
    """

    name: str
    spec: str
    fixed: tuple[str, ...] = ()

    def read(self, text: str) -> Reading:
        """The parts of untrusted text, in time linear in its length; nothing raises.

        They are looked for behind its thoughts (`percbal.responses.thoughts`) and the space that
        begins it. It never chooses: of two candidates for a part neither counts.
        """
        start = _said_from(text)
        return self._read(text[start:]).moved(text, start)

    @abstractmethod
    def _read(self, text: str) -> Reading:
        """The same of a response without thoughts."""

    @abstractmethod
    def write(self, perception: str, reasoning: str, answer: str) -> str:
        """A response with these parts. It begins with ``beginning(perception)``."""

    @abstractmethod
    def beginning(self, perception: str) -> str:
        """A response up to and with the end of its perception, to measure a_r from."""

    @abstractmethod
    def instruction(self) -> str | None:
        """The words that state the format to a model; None where there is nothing to state."""

    def tagged(self, text: str) -> str:
        """The response in the default tags, for whoever reads only those.

        Only the parts that count are in it; whatever stands around them is not.
        """
        return self.read(text).tagged()

    def marks(self, text: str) -> list[Area]:
        """Where the marks of the parts that count are."""
        start = _said_from(text)
        return [(first + start, last + start) for first, last in self._marks(text[start:])]

    def unclosed(self, text: str) -> Area | None:
        """The characters of a perception that begins and does not end, where that can be told."""
        start = _said_from(text)
        area = self._unclosed(text[start:])
        return area and (area[0] + start, area[1] + start)

    def _marks(self, text: str) -> list[Area]:
        parts = self._read(text).parts.values()
        areas = [
            area
            for part in parts
            for area in ((part.outer[0], part.inner[0]), (part.inner[1], part.outer[1]))
        ]
        return [area for area in dict.fromkeys(areas) if area[0] < area[1]]

    def _unclosed(self, text: str) -> Area | None:
        return None


def _said_from(text: str) -> int:
    """Where the response begins, behind its thoughts and space: templates write either."""
    start = response_start(text)
    return len(text) - len(text[start:].lstrip())
