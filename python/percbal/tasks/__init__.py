"""Diagnostic tasks by name: ``get_task("sudoku", size=9).generate(0, "train", seed=0)``.

May import: responses, numpy, Pillow, matplotlib where a chart is drawn. Never: torch, percbal_ops,
trainers.
"""

from __future__ import annotations

from typing import Any

from percbal.tasks.base import Instance, Score, Task
from percbal.tasks.options import check_options, load_class

__all__ = ["TASKS", "Instance", "Score", "Task", "get_task", "task_class"]

TASKS = {  # name -> module:Class
    "chart": "percbal.tasks.chart:Chart",
    "coloring": "percbal.tasks.coloring:Coloring",
    "sudoku": "percbal.tasks.sudoku:Sudoku",
}


def task_class(name: str) -> type[Task]:
    """The class of a task: one of `TASKS`, or ``module:Class`` of a user's own.

    ValueError names the known tasks, or says why the class cannot be had.
    """
    if name not in TASKS and ":" not in name:
        raise ValueError(
            f"unknown task {name!r}; known tasks: {', '.join(sorted(TASKS))}, or module:Class"
        )
    return load_class(TASKS.get(name, name))


def get_task(name: str, /, **options: Any) -> Task:
    """The task called ``name``, made with ``options``.

    ValueError names the known tasks, the task's known options, or the type that an option must be
    of; the task checks the values.
    """
    made_by = task_class(name)
    return made_by(**check_options(name, made_by, options))
