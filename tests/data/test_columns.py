"""Columns beside the texts of a row: what the prompt would lack, and marks of the response."""

from __future__ import annotations

import csv
import json

import pytest
from PIL import Image
from written_rows import write_jsonl, write_parquet

from percbal.data.reading import read_dataset

USER, ANSWER = {"role": "user", "content": "look"}, {"role": "assistant", "content": "yes"}
GOOD = {"messages": [USER, ANSWER]}


@pytest.fixture
def folder(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    return tmp_path


FAULTS = {
    "pictures of a message": (
        {"messages": [USER | {"images": ["a.png"]}, ANSWER]},
        "a message of messages has images, which no template shows; pictures are parts of",
    ),
    "a picture of a prompt's message": (
        {"prompt": [USER | {"image": "a.png"}], "completion": "yes"},
        "a message of prompt has image, which no template shows",
    ),
    "two systems": (
        {"prompt": [{"role": "system", "content": "x"}, USER], "completion": "yes"}
        | {"system": "be brief"},
        "it has a column system, and its prompt begins with a message of the system",
    ),
    "a history": (
        {"query": "and now?", "response": "yes", "history": [["first", "no"]]},
        "it has history; its turns are not read; write them as messages",
    ),
    "tools": (GOOD | {"tools": '[{"name": "zoom"}]'}, "it has tools; no tools are put into"),
    "segments as words": (GOOD | {"segments": ["x"]}, "entry 0 of segments must be .*, it is 'x'"),
    "segments of pairs": (GOOD | {"segments": {"x": "y"}}, "segments must be a list of {.*'y'}"),
    "a segment without a text": (
        GOOD | {"segments": [{"type": "perception", "text": "y"}, {"type": "perception"}]},
        'entry 1 of segments must be {"type": a text, "text": a text}',
    ),
    "a span of pairs": (GOOD | {"spans": [[0, 1]]}, "entry 0 of spans must be .*, it is .0, 1.$"),
    "a span of fractions": (
        GOOD | {"spans": [{"type": "perception", "start": 0.0, "end": 1.5}]},
        "entry 0 of spans must be .*whole number",
    ),
    "spans as a sentence": (GOOD | {"spans": "0 to 3"}, "spans must be a list of .*'0 to 3'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_column_that_would_be_ignored_is_a_bad_row(folder, fault):
    row, sentence = FAULTS[fault]
    path = write_jsonl(folder, [GOOD, row])
    with pytest.raises(ValueError, match=f"^{path}:2: {sentence}"):
        read_dataset(str(path))
    path = write_parquet(folder, [row])
    with pytest.raises(ValueError, match=f"^row 1 of {path}: {sentence}"):
        read_dataset(str(path))


@pytest.mark.parametrize("write", [write_jsonl, write_parquet])
@pytest.mark.parametrize(
    "texts",
    [{"prompt": "look", "completion": "yes"}, {"query": "look", "response": "yes"}, GOOD],
    ids=lambda texts: [*texts][0],
)
def test_a_system_is_the_first_message_in_every_form(folder, write, texts):
    row = texts | {"system": "be brief", "tools": "[]", "history": []}
    (read,) = read_dataset(str(write(folder, [row])))
    assert read["prompt"] == [{"role": "system", "content": "be brief"}, USER]
    assert read["completion"] == [ANSWER] and "system" not in read


SPANS = [{"type": "perception", "start": 0, "end": 3}, {"type": "answer", "start": 3, "end": 4}]
SEGMENTS = [{"type": "perception", "text": "yes"}, {"type": "answer", "text": "!"}]


@pytest.mark.parametrize("name, entries", [("spans", SPANS), ("segments", SEGMENTS)])
@pytest.mark.parametrize("kind", ["list", "json", "csv", "table", "sequence"])
def test_marks_of_a_response_are_entries_in_any_file(folder, name, entries, kind):
    row = {"prompt": "look", "completion": "yes!", name: entries}
    by_key = {key: [entry[key] for entry in entries] for key in entries[0]}
    if kind == "csv":
        source = folder / "train.csv"
        with open(source, "w", newline="") as file:
            csv.writer(file).writerows([[*row], ["look", "yes!", json.dumps(entries)]])
    elif kind == "table":
        source = write_parquet(folder, [row])
    elif kind == "sequence":
        source = write_parquet(folder, [row | {name: by_key}])
    else:
        source = write_jsonl(
            folder, [row | ({name: json.dumps(entries)} if kind == "json" else {})]
        )
    assert read_dataset(str(source))[0][name] == entries


def test_a_data_set_without_a_picture_is_said_with_columns_that_may_have_them(folder, caplog):
    row = {"prompt": "look", "completion": "yes"}
    path = write_jsonl(folder, [row | {"image_path": "a.png", "n": 1}])
    read_dataset(str(path))
    assert f"no row of {path} has a picture" in caplog.text
    assert "images); image_path is not read, rename it image or images" in caplog.text
    for write in (write_jsonl, write_parquet):
        caplog.clear()
        read_dataset(str(write(folder, [row | {"image": "a.png"}, row | {"image": None}])))
        assert "has a picture" not in caplog.text
        read_dataset(str(write(folder, [row | {"images": []}])))
        assert "has a picture (in a column image or images)\n" in caplog.text
