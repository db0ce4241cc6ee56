"""A task whose options were tried, so that a value of a wrong type is a sentence."""

from __future__ import annotations

from collections.abc import Callable

from percbal.tasks import Task
from percbal.tasks.judging import told_wrong
from percbal.tasks.splits import check_split


def tried_task(make: Callable[[], Task], split: str, called: str) -> Task:
    """What ``make`` makes, and two instances of it: some values fail only there, and one's response
    has parts that are wrong for the other.

    called: the options, as the user knows them. Raises ValueError for a value of a wrong type, for
    a split that no task has, and for wrong parts that a result cannot hold.
    """
    check_split(split)
    try:
        task = make()
        made, other = (task.generate(0, split, seed) for seed in (0, 1))
    except (TypeError, AttributeError) as problem:
        raise ValueError(f"{called}: a value has the wrong type ({problem})") from problem
    for method in ("wrong_parts", "wrong_answers"):  # of a response that is mostly wrong
        told_wrong(task, method, other.response, made.truth)
    return task
