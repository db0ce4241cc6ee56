"""A task whose options were tried, so that a value of a wrong type is a sentence."""

from __future__ import annotations

from collections.abc import Callable

from percbal.tasks import Task
from percbal.tasks.splits import check_split


def tried_task(make: Callable[[], Task], split: str, called: str) -> Task:
    """What ``make`` makes, and one instance of it: some values fail only there.

    called: the options, as the user knows them. Raises ValueError for a value of a wrong type and
    for a split that no task has.
    """
    check_split(split)
    try:
        task = make()
        task.generate(0, split, 0)
    except (TypeError, AttributeError) as problem:
        raise ValueError(f"{called}: a value has the wrong type ({problem})") from problem
    return task
