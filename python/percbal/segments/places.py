"""Where the characters of a response stand in the text that a chat template makes of it."""

from __future__ import annotations

from typing import NamedTuple

from percbal.responses.thoughts import CLOSING, OPENING, response_start


class _Piece(NamedTuple):
    """Characters that the text has as the response has them."""

    first: int  # in the response
    last: int  # in the response, excluded
    at: int  # of the first, in the text


class Places:
    """Carries areas of a response over to the text; pieces: from first to last, at least one."""

    def __init__(self, pieces: list[_Piece], length: int) -> None:
        ends = [at + last - first for first, last, at in pieces]
        # of what the text does not have: where the next character begins, where the last one ended
        self._starts = [ends[-1]] * (length + 1)
        self._ends = [pieces[0].at] * (length + 1)
        for first, last, at in reversed(pieces):
            self._starts[:first] = [at] * first
            self._starts[first:last] = range(at, at + last - first)
        for (first, last, at), end in zip(pieces, ends, strict=True):
            self._ends[first + 1 : last + 1] = range(at + 1, end + 1)
            self._ends[last + 1 :] = [end] * (length - last)

    def area(self, first: int, last: int) -> tuple[int, int]:
        """First and last (excluded) character in the text."""
        start = self._starts[first]
        return start, max(self._ends[last], start)


def response_places(text: str, response: str, end: int | None = None) -> Places | None:
    """Where the text has the characters of a response.

    A template may drop or change the space around a response and around ``</think>``, and put the
    opening tag of its thoughts into the prompt.

    end: where the response ends in the text; None for its last occurrence.
    Returns None where the text does not have the response.
    """
    text = text if end is None else text[:end]
    pieces = _whole(text, response, end is not None) or _thoughts(text, response, end is not None)
    if pieces is None:
        return None
    return Places(_grown(text, response, pieces), len(response))


def _whole(text: str, response: str, ends: bool) -> list[_Piece] | None:
    """The response without the space around it, in one piece; ends: the text ends with it."""
    return _last(text, response, 0, len(response), ends)


def _thoughts(text: str, response: str, ends: bool) -> list[_Piece] | None:
    """Its thoughts, their closing tag and what follows, each for itself."""
    behind = response_start(response)
    closing = behind - len(CLOSING)
    if closing < 0 or response[closing:behind] != CLOSING:
        return None
    said = _last(text, response, behind, len(response), ends)
    tag = said and _last(text[: said[0].at], response, closing, behind, True)
    begins = response.lstrip().startswith(OPENING)
    opening = len(response) - len(response.lstrip())
    inside = opening + len(OPENING) if begins else 0
    thought = tag and _last(text[: tag[0].at], response, inside, closing, True)
    if not said or not tag or not thought:
        return None
    # the prompt may have the opening tag already
    opened = begins and _last(text[: thought[0].at], response, opening, inside, True)
    return [*(opened or []), *thought, *tag, *said]


def _last(text: str, response: str, first: int, last: int, ends: bool) -> list[_Piece] | None:
    """Where the text has these characters, without the space around them, for the last time."""
    part = response[first:last]
    first += len(part) - len(part.lstrip())
    part = part.strip()
    text = text.rstrip()
    if ends and not text.endswith(part):
        return None
    at = len(text) - len(part) if ends else text.rfind(part)
    return None if at < 0 else [_Piece(first, first + len(part), at)]


def _grown(text: str, response: str, pieces: list[_Piece]) -> list[_Piece]:
    """Each piece with the space around it as far as the text has the same."""
    bounds = [_Piece(0, 0, 0), *pieces, _Piece(len(response), len(response), len(text))]
    for i in range(1, len(bounds) - 1):
        before, (first, last, at), behind = bounds[i - 1 : i + 2]
        end = before.at + before.last - before.first
        while first > before.last and at > end and response[first - 1] == text[at - 1]:
            first, at = first - 1, at - 1
        while last < behind.first and at + last - first < behind.at:
            if response[last] != text[at + last - first]:
                break
            last += 1
        bounds[i] = _Piece(first, last, at)
    return bounds[1:-1]
