"""The words of a chain of thought: a table of phrases for each style, and all words they can make.

A phrase is words with one space between them, some of which have a field in braces. The same steps
of a solver can so be told in several styles, and a tokenizer can know every word beforehand.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Mapping

from percbal.tasks.options import one_of

MIXED = "mixed"
FIELD = re.compile(r"\{(\w+)\}")


class Phrases:
    """One style of a task: step -> phrase."""

    def __init__(self, table: Mapping[str, str]) -> None:
        self.table = table

    def say(self, step: str, **fields: object) -> str:
        """The phrase of a step; empty where the style passes over it."""
        return self.table[step].format(**fields)

    def words(self, values: Mapping[str, Iterable[str]]) -> list[str]:
        """Every word that the phrases can have.

        values: field -> the words it can hold. A field may hold several, of which only the first
            and the last touch what stands beside the field.
        """
        found: list[str] = []
        for word in " ".join(self.table.values()).split():
            field = FIELD.search(word)
            if field is None:
                found.append(word)
                continue
            before, after = word[: field.start()], word[field.end() :]
            for value in values[field[1]]:
                found += [value, before + value, value + after, before + value + after]
        return list(dict.fromkeys(found))


class Styles:
    """The styles that a task was made with: one of its own, or any of them for each instance."""

    def __init__(self, name: str, known: Mapping[str, Phrases]) -> None:
        self.name = one_of("style", name, (*known, MIXED))
        self.phrases = [*known.values()] if name == MIXED else [known[name]]

    def choose(self, rng: random.Random) -> Phrases:
        """Nothing is drawn where there is no choice."""
        return rng.choice(self.phrases) if self.name == MIXED else self.phrases[0]

    def words(self, words_of: Callable[[Phrases], list[str]]) -> list[str]:
        """Every word in any of the styles."""
        return [word for phrases in self.phrases for word in words_of(phrases)]


def list_words(values: Iterable[str]) -> list[str]:
    """Every word of JSON lists of lists of these values, as `json.dumps` spaces them."""
    return [
        f"{opening}{value}{closing}"
        for value in values
        for opening in ("", "[", "[[")
        for closing in (",", "],", "]]")
    ]
