"""What the pages show as code is true."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
QUESTION = re.compile(r"^\| (.*\?) \| \[(?:docs/)?(\w+\.md)\]", re.MULTILINE)


def test_the_operators_equal_what_their_page_says() -> None:
    (block,) = BLOCK.findall((ROOT / "docs" / "operators.md").read_text())
    exec(compile(block, "docs/operators.md", "exec"), {})


def test_both_indexes_list_the_same_eight_questions_and_pages() -> None:
    ours, docs = (QUESTION.findall((ROOT / p).read_text()) for p in ("README.md", "docs/README.md"))
    assert ours == docs and len(ours) == 8
