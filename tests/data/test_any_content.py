"""No content of a file makes the loader raise anything but one sentence with a place."""

from __future__ import annotations

import json

import datasets
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from percbal.data.files import FILES
from percbal.data.forms import READ, read_row
from percbal.data.lines import BadRow
from percbal.data.reading import read_dataset

KEYS = [
    *READ,
    "image",
    "images",
    "role",
    "content",
    "from",
    "value",
    "type",
    "text",
    "url",
    "v",
    "c",
]
KEYS += ["edges", "ground_truth", "tool_calls", "path", "bytes"]
WORDS = ["user", "human", "assistant", "gpt", "system", "text", "image", "<image>", "a <image> b"]
WORDS += ["[1", "[]", "{}", "a.png", "", "\ud800", "\x00json:[", "\x00json:{}", "../../etc/passwd"]
LEAF = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 90), st.floats(), st.sampled_from(WORDS), st.text()
)
VALUE = st.recursive(
    LEAF,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    ),
    max_leaves=12,
)
ROW = st.dictionaries(st.one_of(st.sampled_from(KEYS), st.text(max_size=3)), VALUE, max_size=6)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ROW, st.booleans(), st.integers(0, 2))
def test_a_row_is_read_or_bad(row, completions, n_images):
    try:
        made = read_row(row, completions=completions, n_images=n_images)
    except BadRow as problem:
        assert str(problem)
        return
    assert made["prompt"] and all({"role", "content"} <= {*m} for m in made["prompt"])
    assert not completions or made["completion"]


CONTENT = st.one_of(
    st.binary(max_size=80),
    st.text(max_size=80).map(str.encode),
    st.lists(ROW, max_size=3).map(lambda rows: "\n".join(map(json.dumps, rows)).encode()),
    st.lists(VALUE, max_size=3).map(lambda rows: json.dumps(rows).encode()),
    st.lists(st.lists(st.sampled_from([*KEYS, *WORDS[:-4], '"', "\n", "\0"]), max_size=4)).map(
        lambda rows: "\n".join(map(",".join, rows)).encode()
    ),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[*HealthCheck])
@given(CONTENT.filter(bool), st.sampled_from(FILES), st.sampled_from(["stop", "skip"]))
def test_a_file_is_read_or_refused_with_its_name(tmp_path, content, ending, on_bad_row):
    path = tmp_path / f"it{ending}"
    path.write_bytes(content)
    try:
        data = read_dataset(str(path), "train", on_bad_row=on_bad_row)
        for row in data:
            assert row["source_row"].startswith((f"{path}:", "row "))
    except ValueError as problem:
        assert str(path) in str(problem) or str(tmp_path) in str(problem)


@settings(max_examples=60, deadline=None, suppress_health_check=[*HealthCheck])
@given(st.lists(ROW, min_size=1, max_size=3))
def test_a_table_is_read_or_refused_with_its_row(rows):
    try:
        table = datasets.Dataset.from_list(rows)
    except Exception:  # no table can hold these
        return
    try:
        for row in read_dataset(table):
            assert row["source_row"].startswith("row ")
    except ValueError as problem:
        assert "of the data set" in str(problem) or "the data set holds" in str(problem)


@pytest.mark.parametrize("name", ["it.parquet", "it.jsonl", "it.csv", "it.json", "it"])
def test_a_name_that_stands_for_nothing_is_one_sentence(tmp_path, name, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match=f"{tmp_path}/{name}") as refused:
        read_dataset(str(tmp_path / name), "train")
    assert "\n" not in str(refused.value)
