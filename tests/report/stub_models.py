"""Models made by hand: what they say of each picture, for ``percbal diagnose --completions``.

``PERFECT`` sees and thinks. ``BLIND`` thinks, but misreads three pictures of four; told what they
show, it is right. ``THOUGHTLESS`` sees everything, and concludes wrongly from three of four.
"""

from __future__ import annotations

import random
from typing import Any

from percbal.tasks.base import Instance, tagged

PERFECT, BLIND, THOUGHTLESS = "perfect", "blind", "thoughtless"


def completions(task: Any, model: str, n: int, split: str = "test") -> list[dict[str, Any]]:
    """Two to an instance, the second one told what the picture shows."""
    instances = [task.generate(i, split, 0) for i in range(n)]
    return [
        {"index": instance.index, "completion": _said(instance, model, told), "told": told}
        for instance in instances
        for told in (False, True)
    ]


def _said(instance: Instance, model: str, told: bool) -> str:
    seen, answer = instance.perception, instance.answer
    rng = random.Random(instance.index)
    if instance.index % 4 == 3:
        model = PERFECT
    if model == BLIND and not told:
        seen, answer = _misseen(instance, rng), _changed(answer, instance, rng)
    if model == THOUGHTLESS:
        answer = _changed(answer, instance, rng)
    spans = (("perception", seen), ("reasoning", instance.reasoning), ("answer", answer))
    return " ".join(tagged(*span) for span in spans)


def _misseen(instance: Instance, rng: random.Random) -> str:
    """p* with one part misread, one missed and one invented, as far as there are such."""
    if instance.task == "sudoku":
        words = instance.perception.split()
        clues = [i for i, word in enumerate(words) if not word.endswith("_")]
        blanks = [i for i, word in enumerate(words) if word.endswith("_")]
        misread, missed = rng.sample(clues, 2)
        words[misread] = _other_digit(words[misread], instance, rng)
        words[missed] = f"{words[missed][:-1]}_"
        invented = rng.choice(blanks)
        words[invented] = _other_digit(words[invented], instance, rng)
        return " ".join(words)
    if instance.task == "coloring":
        n, edges = instance.truth["v"], [tuple(edge) for edge in instance.truth["edges"]]
        others = [(a, b) for b in range(n) for a in range(b) if (a, b) not in edges]
        edges.remove(rng.choice(edges))
        edges += rng.sample(others, min(1, len(others)))
        return " ".join(f"{a}-{b}" for a, b in sorted(edges))
    rows = [row.split(": ") for row in instance.perception.split("; ")]
    wrong = rng.randrange(len(rows))
    rows[wrong][1] = str(int(rows[wrong][1]) + 5)
    return "; ".join(": ".join(row) for row in rows)


def _changed(answer: str, instance: Instance, rng: random.Random) -> str:
    """An answer that is wrong."""
    if instance.task == "chart":
        return str(float(answer) + 1)
    words = answer.split()
    if instance.task == "coloring":  # an edge with one colour at both ends
        a, b = rng.choice(instance.truth["edges"])
        words[b] = f"{b}={words[a].partition('=')[2]}"
        return " ".join(words)
    blanks = [i for i, word in enumerate(instance.perception.split()) if word.endswith("_")]
    for cell in rng.sample(blanks, 2):
        words[cell] = _other_digit(words[cell], instance, rng)
    return " ".join(words)


def _other_digit(word: str, instance: Instance, rng: random.Random) -> str:
    name, _, digit = word.partition("=")
    others = {str(d + 1) for d in range(instance.truth["size"])} - {digit}
    return f"{name}={rng.choice(sorted(others))}"
