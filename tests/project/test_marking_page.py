"""docs/marking.md: its script, its formats and its rows do what it says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from percbal.responses.formats import make_format
from percbal.segments.tagged import (
    PERCEPTION,
    spans_from_characters,
    spans_from_format,
    spans_from_segments,
)

PAGE = (Path(__file__).parents[2] / "docs" / "marking.md").read_text()
SAID = "Description: A red square.\nReasoning: It is alone.\nAnswer: square"


def blocks(language):
    found = re.findall(rf"^ *```{language}\n(.*?)^ *```$", PAGE, re.DOTALL | re.MULTILINE)
    assert found
    return found


def seen(text, spans):
    return [text[start:end].strip() for start, end, segment in spans if segment == PERCEPTION]


def test_the_script_turns_headings_into_tags(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [{"image": "1.png", "completion": text} for text in (SAID, "Seen: a square")]
    Path("raw.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (script,) = blocks("python")
    exec(compile(script, "docs/marking.md", "exec"), {})
    assert capsys.readouterr().out == "raw.jsonl:2 has other headings, left out\n"
    (row,) = map(json.loads, Path("data.jsonl").read_text().splitlines())
    reading = make_format("tags").read(row["completion"])
    assert reading.perception.strip() == "A red square." and reading.answer.strip() == "square"
    assert row["image"] == "1.png"


@pytest.mark.parametrize("option", re.findall(r"--response-format '?([^'\s].*?)'?  +#", PAGE))
def test_the_formats_of_the_page_are_read(option):
    texts = {
        "regex": SAID,
        "separator": "A red square.\n\nIt is alone.\nAnswer: square",
        "json": json.dumps({"perception": "A red square.", "reasoning": "", "answer": "square"}),
    }
    reading = make_format(option).read(texts[option.partition(":")[0]])
    assert reading.perception.strip() == "A red square." and reading.answer.strip() == "square"


def test_the_page_shows_three_formats_and_the_same_one_in_a_file():
    assert len(re.findall(r"--response-format '?(?:regex|separator|json)", PAGE)) == 3
    (block,) = blocks("yaml")
    assert make_format(yaml.safe_load(block)["response_format"]).read(SAID).perception


def test_the_rows_of_the_page_mark_what_can_be_seen():
    turns, thought = map(json.loads, blocks("json"))
    text = turns["completion"]
    assert "".join(part["text"] for part in turns["segments"]) == text
    assert seen(text, spans_from_segments(text, turns["segments"])) == [
        "The sign says 40.",
        "Below it stands: 22 to 6 h.",
    ]
    text = thought["completion"]
    assert seen(text, spans_from_characters(text, thought["spans"])) == ["The sign says 40."]
    with pytest.raises(ValueError, match="no perception that counts"):
        spans_from_format(
            text.replace("<think>", "<think><perception>", 1).replace("40.", "40.</perception>"),
            make_format("tags"),
        )
