"""What the pages show as code is true."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from percbal import read_dataset
from percbal.responses.formats import make_format
from percbal.segments.tagged import PERCEPTION, spans_from_characters, spans_from_format

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
QUESTION = re.compile(r"^\| (.*\?) \| \[(?:docs/)?(\w+\.md)\]", re.MULTILINE)


def test_the_operators_equal_what_their_page_says() -> None:
    (block,) = BLOCK.findall((ROOT / "docs" / "operators.md").read_text())
    exec(compile(block, "docs/operators.md", "exec"), {})


def test_both_indexes_list_the_same_questions_and_pages() -> None:
    ours, docs = (QUESTION.findall((ROOT / p).read_text()) for p in ("README.md", "docs/README.md"))
    assert ours == docs and len(ours) == 10


ROWS = (ROOT / "docs" / "data.md").read_text().split("```json\n")[1].split("```")[0].splitlines()


@pytest.mark.parametrize("line", ROWS)
def test_the_rows_that_the_page_of_data_shows_are_read_and_marked(line, tmp_path) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "1.png")
    (tmp_path / "data.jsonl").write_text(line)
    (row,) = read_dataset(str(tmp_path / "data.jsonl"))
    text = row["completion"][0]["content"]
    if not isinstance(text, str):
        (text,) = [part["text"] for part in text]
    given = json.loads(line).get("spans")
    spans = (
        spans_from_format(text, make_format("tags"))
        if given is None
        else spans_from_characters(text, given)
    )
    seen = [text[span[0] : span[1]] for span in spans if span[2] == PERCEPTION]
    assert len(row["images"]) == 1 and len(seen) == 1
    assert "circle" in seen[0] and seen[0].endswith(("circle.", "</perception>"))
