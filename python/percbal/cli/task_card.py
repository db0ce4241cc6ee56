"""The data card of a data set that `percbal tasks make` writes: README.md."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from percbal.tasks import Task

SHOWN = 20  # instances whose lengths are counted

COLUMNS = """\
| column | holds |
|---|---|
| `query`, `image` | what a model is asked and shown |
| `ground_truth` | JSON of what the image shows, in the manner of arXiv:2605.29496 |
| `response` | perception, reasoning, answer in their tags; empty but in `train`, `train_sft` |
| `perception`, `grammar` | p\\*, and the grammar that it is written in |
| `answer` | one right answer |
| `truth` | JSON, by which the task judges any answer |
| `task` | its name |
"""


def card(task: Task, splits: dict[str, int], seed: int) -> str:
    """Markdown.

    Its head does not list the files: `datasets` finds splits by their names, and would take all
    folders of one name with the same list for one data set in its cache.
    """
    rows = "".join(f"| `{name}` | {n} |\n" for name, n in splits.items())
    first = task.generate(0, next(iter(splits)), seed)
    return (
        "---\ntask_categories:\n- visual-question-answering\n---\n\n"
        f"# {task.name}\n\n"
        f"Pictures with questions, made by `percbal tasks make`: {task.describe()}; seed {seed}.\n"
        f"{_shares(task, next(iter(splits)), seed)}\n\n"
        f"| split | rows |\n|---|---|\n{rows}\n"
        "No problem of one split is one of another, whatever the seeds, except that `train` is "
        "`train_sft` and `train_rl` together. What counts as the same problem is in percbal's "
        "docs/tasks.md.\nWithin a split a small problem may occur more than once.\n\n"
        f"{COLUMNS}\n"
        f"The first row:\n\n```\n{first.query}\n\n{first.response}\n```\n\n"
        f"Made with {_versions()}. The same versions, options and seed make the same rows.\n"
    )


def _shares(task: Task, split: str, seed: int) -> str:
    words = [0, 0, 0]
    for index in range(SHOWN):
        for part, segment in enumerate(task.generate(index, split, seed).segments):
            words[part] += len(segment["text"].split())
    return (
        f"Over the first {SHOWN} instances, a response has {sum(words) // SHOWN} words on average, "
        f"of which perception is {100 * words[0] / sum(words):.1f}%."
    )


def _versions() -> str:
    found = [f"Python {platform.python_version()}"]
    for name in ("percbal", "pillow", "matplotlib", "numpy"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
