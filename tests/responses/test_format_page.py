"""What docs/formats.md says is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from percbal.responses.formats import FORMATS, make_format
from percbal.responses.spans import Status
from percbal.tasks import get_task

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "formats.md").read_text()


def test_every_reason_is_in_a_table_and_no_other():
    sources = [
        path.read_text()
        for folder in ("responses", "tasks")
        for path in (ROOT / "python" / "percbal" / folder).glob("*.py")
    ]
    used = {reason for text in sources for reason in re.findall(r'Refusal\(\s*"(\w+)"', text)}
    used |= {*get_args(Status)} - {"ok"}
    tables = re.findall(r"^\| reason \|.*?\n\n", PAGE + "\n", re.DOTALL | re.MULTILINE)
    rows = [re.match(r"\| ((?:`\w+`,? ?)+)\|", line) for t in tables for line in t.splitlines()[2:]]
    assert {reason for row in rows if row for reason in re.findall(r"`(\w+)`", row[1])} == used


def test_every_format_is_in_the_table():
    kinds = {kind.strip("[]").split(":")[0].split("[")[0] for kind in FORMATS.split(", ")}
    assert kinds == {*re.findall(r"^\| `(\w+)(?:`|:).*\|.*\|.*\|$", PAGE, re.MULTILINE)} & kinds


def test_its_code_runs_and_gives_what_it_says():
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    names: dict[str, object] = {}
    exec(compile(block, "docs/formats.md", "exec"), names)
    said = re.findall(r"^(chosen\..*?)  # (\".*\")$", block, re.MULTILINE)
    assert len(said) == 2
    for expression, value in said:
        assert eval(expression, names) == eval(value)


def test_the_beginning_of_the_default_tags_is_a_tasks_oracle_prefix():
    task = get_task("sudoku")
    instance = task.generate(0, "test", seed=0)
    tags = make_format("tags")
    assert tags.beginning(instance.perception) == task.oracle_prefix(instance)
    assert tags.write(instance.perception, instance.reasoning, instance.answer) == instance.response
