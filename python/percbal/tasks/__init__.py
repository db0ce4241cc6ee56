"""Diagnostic tasks by name: ``get_task("sudoku", size=9).generate(0, "train", seed=0)``.

May import: responses, numpy, Pillow. Never: torch, percbal_ops, trainers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from percbal.tasks.base import Instance, Score, Task
from percbal.tasks.sudoku import Sudoku

__all__ = ["TASKS", "Instance", "Score", "Task", "get_task"]

TASKS: dict[str, Callable[..., Task]] = {"sudoku": Sudoku}


def get_task(name: str, **options: Any) -> Task:
    """The task called ``name``, made with ``options``.

    ValueError names the known tasks or the task's known options; the task checks the values.
    """
    if name not in TASKS:
        raise ValueError(f"unknown task {name!r}; known tasks: {', '.join(sorted(TASKS))}")
    known = inspect.signature(TASKS[name]).parameters
    unknown = [option for option in options if option not in known]
    if unknown:
        raise ValueError(
            f"task {name!r} has no option {unknown[0]!r}; its options: {', '.join(known)}"
        )
    return TASKS[name](**options)
