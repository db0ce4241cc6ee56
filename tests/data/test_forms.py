"""Every form in which people bring data comes out as the one form, and its faults are named."""

from __future__ import annotations

import csv
import io
import json

import datasets
import pytest
from PIL import Image
from written_rows import write_jsonl, write_parquet

from percbal.data.forms import read_row
from percbal.data.reading import read_dataset
from percbal_ops import score_text

IMAGE = {"type": "image"}
CELLS = [0, 5, *[0] * 79]
GRAPH = {"v": 3, "c": 2, "edges": [[0, 1], [1, 2]]}
CHART = {"values": {"Mon": 30, "Tue": 45}, "question": {"kind": "sum"}}


def text(words):
    return {"type": "text", "text": words}


def user(*content):
    """One text, or parts."""
    plain = isinstance(content[0], str)
    return {"role": "user", "content": content[0] if plain else list(content)}


def turns(*texts, names=("role", "content"), roles=("user", "assistant")):
    return [dict(zip(names, pair, strict=True)) for pair in zip(roles, texts, strict=False)]


SHAREGPT = {"names": ("from", "value"), "roles": ("human", "gpt")}
ANSWER = [{"role": "assistant", "content": "yes"}]
BOTH = ["a.png", "b.png"]
# row -> its prompt, sizes of its images
FORMS = {
    "LLaMA-Factory": (
        {"messages": turns("<image>one, <image>\ntwo", "yes"), "images": BOTH},
        [user(IMAGE, text("one, "), IMAGE, text("\ntwo"))],
        [8, 9],
    ),
    "ShareGPT": (
        {"conversations": turns("<image>look", "yes", **SHAREGPT), "images": ["b.png"]},
        [user(IMAGE, text("look"))],
        [9],
    ),
    "a column for the system": (
        {"conversations": turns("look", "yes", **SHAREGPT), "system": "be brief"},
        [{"role": "system", "content": "be brief"}, user("look")],
        [],
    ),
    "several turns": (
        {
            "messages": turns("<image>a", "b", "<image>c", "yes", roles=["user", "assistant"] * 2),
            "images": BOTH,
        },
        [user(IMAGE, text("a")), {"role": "assistant", "content": "b"}, user(IMAGE, text("c"))],
        [8, 9],
    ),
    "the paper": (
        {"query": "solve", "image": "a.png", "ground_truth": "42", "response": "yes"},
        [user(IMAGE, text("solve"))],
        [8],
    ),
    "TRL": (
        {"prompt": [user(text("look"))], "completion": ANSWER, "image": "a.png"},
        [user(IMAGE, text("look"))],
        [8],
    ),
    "TRL, images at their places": (
        {"prompt": [user(text("this"), IMAGE, text("is"), IMAGE)], "completion": ANSWER}
        | {"images": BOTH},
        [user(text("this"), IMAGE, text("is"), IMAGE)],
        [8, 9],
    ),
    "plain texts": (
        {"prompt": "look", "completion": "yes", "images": BOTH},
        [user(IMAGE, IMAGE, text("look"))],
        [8, 9],
    ),
    "paths in the messages": (
        {
            "prompt": [
                user(
                    {"type": "image", "image": "b.png"},
                    {"type": "image", "path": "a.png"},
                    {"type": "image", "url": "a.png"},
                    {"type": "image_url", "image_url": {"url": "b.png"}},
                    text("look"),
                )
            ],
            "completion": ANSWER,
        },
        [user(IMAGE, IMAGE, IMAGE, IMAGE, text("look"))],
        [9, 8, 8, 9],
    ),
    "no image": ({"prompt": "look", "completion": "yes"}, [user("look")], []),
    "image null": ({"prompt": "look", "completion": "yes", "image": None}, [user("look")], []),
    "images empty": ({"prompt": "look", "completion": "yes", "images": []}, [user("look")], []),
    "one path in images": (
        {"prompt": "look", "completion": "yes", "images": "b.png"},
        [user(IMAGE, text("look"))],
        [9],
    ),
    "tool calls": (
        {
            "messages": [
                user("look"),
                {"role": "assistant", "content": None, "tool_calls": [{"x": {"y": 1}}]},
                {"role": "tool", "content": "4", "name": "see"},
                *ANSWER,
            ]
        },
        [
            user("look"),
            {"role": "assistant", "content": "", "tool_calls": [{"x": {"y": 1}}]},
            {"role": "tool", "content": "4", "name": "see"},
        ],
        [],
    ),
}


@pytest.fixture
def folder(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    Image.new("RGB", (9, 9)).save(tmp_path / "b.png")
    return tmp_path


def write_json(folder, rows):
    path = folder / "train.json"
    path.write_text(json.dumps(rows, indent=1))
    return path


def write_saved(folder, rows):
    (folder / "saved").mkdir()
    for name in BOTH:
        (folder / name).rename(folder / "saved" / name)
    split = datasets.Dataset.from_list(rows)
    datasets.DatasetDict({"train": split}).save_to_disk(folder / "saved")
    return folder / "saved"


def write_folder(folder, rows):
    write_jsonl(folder, rows)
    (folder / "test.jsonl").write_text("no split that is read\n")
    return folder


WRITERS = [write_jsonl, write_json, write_parquet, write_saved, write_folder]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("form", FORMS)
def test_a_form_is_read_from_every_kind_of_file(folder, form, write):
    row, prompt, sizes = FORMS[form]
    data = read_dataset(str(write(folder, [row, row])), "train")
    assert len(data) == 2 and {"prompt", "completion", "images"} <= {*data.column_names}
    for read in data:
        assert read["prompt"] == prompt and read["completion"] == ANSWER
        assert [image.size[0] for image in read["images"]] == sizes


def test_a_csv_file_has_texts_and_its_rows_are_named_by_line(folder):
    path = folder / "train.csv"
    rows = [
        {"query": "so,\nlve", "image": "a.png", "ground_truth": json.dumps(CELLS), "response": "y"},
        {"query": "look", "image": '["a.png", "b.png"]', "ground_truth": "", "response": "y"},
    ]
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    first, second = read_dataset(str(path), "train")
    assert first["source_row"] == f"{path}:2" and second["source_row"] == f"{path}:4"
    assert first["prompt"] == [user(IMAGE, text("so,\nlve"))] and first["grammar"] == "grid"
    assert len(second["images"]) == 2 and second["perception"] is None
    path.write_text("prompt,completion\na,b\na,b,c\n")
    with pytest.raises(ValueError, match=f"{path}:3: it has 3 cells and the first line 2"):
        read_dataset(str(path), "train")


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    "truth, grammar",
    [(CELLS, "grid"), ([CELLS[i : i + 9] for i in range(0, 81, 9)], "grid"), (GRAPH, "edges")]
    + [([[1, 0, 0, 4]] * 4, "grid"), ([1, 2, 3, 0, 0, 6] * 6, "grid"), (CHART, "numbers")],
)
def test_labels_follow_from_the_ground_truth_of_the_paper(folder, write, truth, grammar):
    row = {"query": "q", "image": "a.png", "ground_truth": json.dumps(truth), "response": ""}
    read = read_dataset(str(write(folder, [row])), "train", completions=False)[0]
    nested = isinstance(truth, list) and isinstance(truth[0], list)
    canonical = [cell for row in truth for cell in row] if nested else truth
    assert read["grammar"] == grammar and read.get("completion") is None
    assert json.loads(read["truth"]) == canonical
    assert json.loads(read["perception"]) == (CHART["values"] if truth is CHART else canonical)
    with pytest.raises(ValueError, match="response must be a text .* it is null or missing"):
        read_dataset(str(write_jsonl(folder, [row])), "train")


def test_the_labels_of_the_paper_are_in_their_grammar():
    row = {"query": "q", "response": "r"}
    cells = read_row(row | {"ground_truth": CELLS}, completions=True)
    words = [f"r{i // 9 + 1}c{i % 9 + 1}={value or '_'}" for i, value in enumerate(CELLS)]
    graph = read_row(row | {"ground_truth": GRAPH}, completions=True)
    for made, seen in ((cells, " ".join(words)), (graph, "1-0 2-1")):
        said = [f"<perception>{seen}</perception>"]
        assert score_text(said, [made["perception"]], made["grammar"]).exact.item() == 1


def test_a_folder_of_pictures_with_their_metadata_is_read(folder):
    row = {"file_name": "a.png", "prompt": "look", "completion": "yes"}
    (folder / "metadata.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "b.png").unlink()
    read = read_dataset(str(folder))[0]
    assert read["images"][0].size == (8, 8) and read["prompt"] == [user(IMAGE, text("look"))]


def encoded(size):
    file = io.BytesIO()
    Image.new("RGB", (size, size)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    "columns",
    [
        {"image": {"bytes": encoded(9), "path": "z.png"}},
        {"image": {"bytes": None, "path": "b.png"}},
        {"image": encoded(9)},
        {"image": "b.png"},
        {"image": ["b.png"]},
        {"image": Image.new("RGB", (9, 9))},
        {"images": [{"bytes": encoded(9), "path": None}]},
        {"images": [encoded(9)]},
        {"images": ["b.png"]},
        {"images": '["b.png"]'},
        {"images": [Image.new("RGB", (9, 9))]},
        {"images": [], "image": {"bytes": encoded(9), "path": None}},
    ],
    ids=lambda columns: "+".join(columns),
)
def test_a_column_of_images_may_hold_them_in_any_way(folder, columns):
    rows = [{"prompt": "<image>look", "completion": "yes", "n": 1} | columns]
    sources = [str(write_parquet(folder, rows))]
    if "b.png" not in str(columns):  # else the data set does not know beside what
        sources += [datasets.Dataset.from_list(rows), read_dataset(sources[0])]
    for source in sources:
        row = read_dataset(source)[0]
        assert [image.size for image in row["images"]] == [(9, 9)]
        assert row["prompt"] == [user(IMAGE, text("look"))] and row["n"] == 1
        assert "image" not in row


def test_an_image_lies_beside_the_file_that_names_it(folder):
    (folder / "data").mkdir()
    (folder / "a.png").rename(folder / "data" / "a.png")
    row = {"prompt": "look", "completion": "yes", "images": ["a.png"]}
    write_jsonl(folder / "data", [row])
    assert read_dataset(str(folder), "train")[0]["images"][0].size == (8, 8)


def test_options_of_the_template_and_other_columns_stay(folder):
    options = {"enable_thinking": False}
    row = {"prompt": "look", "completion": "yes", "chat_template_kwargs": options, "n": 4}
    rows = [row, row | {"chat_template_kwargs": None}]
    for write in (write_jsonl, write_parquet):
        read = [*read_dataset(str(write(folder, rows)), "train")]
        assert [r["chat_template_kwargs"] for r in read] == [options, None]
        assert [r["n"] for r in read] == [4, 4]


GOOD = {"messages": turns("look", "yes")}
FAULTS = {
    "places and images differ": (
        {"messages": turns("<image>look <image>", "yes"), "images": ["a.png"]},
        "its messages have 2 image parts, and the row has 1 images",
    ),
    "a place and no image": (
        {"messages": turns("<image>look", "yes")},
        "its messages have 1 image parts, and the row has 0 images",
    ),
    "a place in the response": (
        {"messages": turns("look", "yes <image>"), "images": []},
        "its response has an image or the word <image>",
    ),
    "a video": ({"messages": turns("<video>look", "yes")}, "messages has the word <video>"),
    "a column of videos": (GOOD | {"videos": ["a.mp4"]}, "it has videos"),
    "an unknown role": (
        {"conversations": turns("a", "b", names=("from", "value"), roles=("human", "robot"))},
        "a message of conversations must have a role among user, human, .*, got 'robot'",
    ),
    "the user last": (
        {"messages": turns("a", "b", "c", roles=("user", "assistant", "user"))},
        "the last message of messages must be the assistant's, it is of role 'user'",
    ),
    "a response alone": ({"messages": ANSWER}, "has a response and nothing before it"),
    "the system alone": (
        {"messages": [{"role": "system", "content": "x"}, *ANSWER]},
        "its prompt ends with a message of the system",
    ),
    "another part": (
        {"messages": [user({"type": "audio"}, text("a")), *ANSWER]},
        "a part of messages is of type 'audio'; only text and image are read",
    ),
    "nobody to show images": (
        {"prompt": [{"role": "tool", "content": "x"}], "completion": "y", "images": ["a.png"]},
        "it has 1 images and no message of the user to show them in",
    ),
    "images twice": (
        {
            "prompt": [user({"type": "image", "image": "a.png"}, IMAGE, text("a"))],
            "completion": "y",
            "images": ["a.png"],
        },
        "it has 1 images in its messages and 1 in a column",
    ),
    "an address": (
        {"messages": [user({"type": "image", "url": "https://example.org/a.png"}), *ANSWER]},
        "https://example.org/a.png is an address; only files are opened",
    ),
    "no form": ({"question": "a"}, "a row needs prompt and completion, messages, .*; it has quest"),
    "80 cells": ({"query": "q", "response": "r", "ground_truth": CELLS[1:]}, "must be 81 numbers"),
    "ten": ({"query": "q", "response": "r", "ground_truth": [10, *CELLS[1:]]}, "must be 81 num"),
    "5x5": ({"query": "q", "response": "r", "ground_truth": [1] * 25}, "likewise of a grid of 4x4"),
    "a five": ({"query": "q", "response": "r", "ground_truth": [[5] * 4] * 4}, "must be 81 num"),
    "no question": (
        {"query": "q", "response": "r", "ground_truth": {"values": {"Mon": 3}}},
        'must be {"values": {label: number, ..}, "question"',
    ),
    "a word for a number": (
        {"query": "q", "response": "r", "ground_truth": CHART | {"values": {"Mon": "3"}}},
        'must be {"values": {label: number, ..}, "question"',
    ),
    "a number without a float": (
        {"query": "q", "response": "r", "ground_truth": CHART | {"values": {"Mon": 10**400}}},
        'must be {"values": {label: number, ..}, "question"',
    ),
    "an edge to nowhere": (
        {"query": "q", "response": "r", "ground_truth": GRAPH | {"v": 2}},
        "with vertices from 0 to v - 1",
    ),
    "options": (GOOD | {"chat_template_kwargs": "x"}, "chat_template_kwargs must be options by"),
    "half a character": ({"messages": turns("\ud800", "y")}, "half a character"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_row_that_has_no_form_is_named_by_file_and_line(folder, fault, caplog):
    row, sentence = FAULTS[fault]
    path = write_jsonl(folder, [GOOD, row, GOOD])
    with pytest.raises(ValueError, match=f"^{path}:2: .*{sentence}"):
        read_dataset(str(path), "train")
    assert len(read_dataset(str(path), "train", on_bad_row="skip")) == 2
    assert f"1 of 3 rows of {path} are skipped: {path}:2: " in caplog.text
    path = write_jsonl(folder, [row, row])
    with pytest.raises(ValueError, match=f"{path} holds no rows but 2 bad ones: {path}:1: "):
        read_dataset(str(path), "train", on_bad_row="skip")


def test_a_bad_row_of_a_table_is_named_and_skipped_with_its_other_columns(folder, caplog):
    image = {"bytes": encoded(9), "path": None}
    rows = [
        {"prompt": prompt, "completion": "yes", "image": image, "n": n}
        for n, prompt in enumerate(["<image>a", "<image><image>b", "c", "<image>d"])
    ]
    for part in (0, 1):
        half = datasets.Dataset.from_list(rows[2 * part :][:2])
        half.to_parquet(folder / f"train-{part}.parquet")
    with pytest.raises(ValueError, match=f"^row 2 of {folder}/train-0.parquet: its messages have"):
        read_dataset(str(folder), "train")
    data = read_dataset(str(folder), "train", on_bad_row="skip")
    assert [row["n"] for row in data] == [0, 2, 3] and "1 of 4 rows" in caplog.text
    assert [row["source_row"] for row in data][1:] == [
        f"row {i} of {folder}/train-1.parquet" for i in (1, 2)
    ]
    assert all(row["images"][0].size == (9, 9) for row in data)
