"""A task whose options were tried, so that a value of a wrong type is a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from percbal.cli.task_options import make_task
from percbal.tasks import Task
from percbal.tasks.judging import told_wrong
from percbal.tasks.splits import check_split


def tried_task(
    name: str, options: Sequence[str], called: str, split: str, *, judges: bool = False
) -> Task:
    """The task of `make_task`, and two instances of it: some values fail only there.

    called: the options, as the user knows them. judges: whether it will: one's response has parts
        that are wrong for the other.
    Raises ValueError for a value of a wrong type, for a split that no task has, and for wrong parts
    that a result cannot hold. What fails without options is the task's own fault.
    """
    check_split(split)
    try:
        task = make_task(name, options, called)
        made, other = (task.generate(0, split, seed) for seed in (0, 1))
    except (TypeError, AttributeError) as problem:
        if not options:
            raise
        raise ValueError(f"{called}: a value has the wrong type ({problem})") from problem
    for method in ("wrong_parts", "wrong_answers") if judges else ():  # of one mostly wrong
        told_wrong(task, method, other.response, made.truth)
    return task
