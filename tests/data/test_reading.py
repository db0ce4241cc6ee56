"""What is said of a data set that cannot be trained on, and that others are read as they are."""

from __future__ import annotations

import codecs
import io
import json
import pickle

import datasets
import pytest
from PIL import Image

from percbal.data.lines import BadRow
from percbal.data.reading import read_dataset
from percbal.data.rows import check_images
from percbal.tasks import get_task
from percbal.tasks.preview import export_jsonl

USER = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "look"}]}
GOOD = {
    "prompt": [{"role": "user", "content": "look"}],
    "completion": [{"role": "assistant", "content": "a"}],
    "images": ["a.png"],
}
TURNS = {"messages": [USER, {"role": "assistant", "content": "a"}], "images": ["a.png"]}


def lines(folder, rows, name="train.jsonl"):
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    path = folder / name
    parts = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"\n".join(parts) + b"\n")
    return path


def test_an_export_is_read_as_it_was_written(tmp_path):
    path = export_jsonl(get_task("sudoku"), "train", 3, tmp_path)
    written = [json.loads(line) for line in path.read_text().splitlines()]
    for completions in (True, False):
        read = read_dataset(str(path), "train", completions=completions)
        for row, was in zip(read, written, strict=True):
            truth = Image.open(tmp_path / was["images"][0])
            assert row["images"][0].tobytes() == truth.tobytes()
            assert row["answer"] == was["answer"]
            text = was["messages"][1]["content"][0]["text"]
            assert not completions or row["completion"][0]["content"] == text


@pytest.mark.parametrize("blank", [b"", b"   "])
def test_blank_lines_and_a_byte_order_mark_are_no_rows(tmp_path, blank):
    good = json.dumps(GOOD).encode()
    path = lines(tmp_path, [codecs.BOM_UTF8 + good, blank, good])
    data = pickle.loads(pickle.dumps(read_dataset(str(path), "train")))  # as for a worker
    assert len(data) == 2 and data[1]["images"][0].size == (8, 8)


PART = {"type": "text", "text": None}
FAULTS = {
    "cut": (b'{"prompt": "x", "compl', "not JSON"),
    "list": ([1], "not a JSON object but list"),
    "digits": (b'{"prompt": ' + b"9" * 5000 + b"}", "not JSON (Exceeds the limit"),
    "bytes": (b'{"prompt": "\xff"}', "not UTF-8"),
    "key": (b'{"prompt": "a", "prompt": "b"}', "the key 'prompt' is there twice"),
    "null": (GOOD | {"completion": None}, "completion must be a text or a list of messages"),
    "none": ({"prompt": "a", "images": []}, "completion must be a text or a list of messages"),
    "number": (
        GOOD | {"completion": 4},
        "a list of messages, it is 4",
    ),
    "no messages": (GOOD | {"completion": []}, "completion must be a text or a list of messages"),
    "content": (
        GOOD | {"completion": [{"role": "assistant", "content": None}]},
        "a message of completion must have content",
    ),
    "part": (
        TURNS | {"messages": [USER, {"role": "assistant", "content": [PART]}]},
        "a text part of messages has no text but None",
    ),
    "no image": (TURNS | {"images": []}, "its messages have 1 image parts, and the row has 0"),
    "two images": (TURNS | {"images": ["a.png"] * 2}, "have 1 image parts, and the row has 2"),
    "missing": (GOOD | {"images": ["b.png"]}, "there is no file b.png"),
    "outside": (GOOD | {"images": ["../../etc/hostname"]}, "leaves the folder"),
    "no picture": (GOOD | {"images": ["train.jsonl"]}, "train.jsonl is no picture"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_row_is_named_by_file_and_line(tmp_path, fault):
    row, sentence = FAULTS[fault]
    good = TURNS if isinstance(row, dict) and "messages" in row else GOOD
    path = lines(tmp_path, [good, b"", row, good])
    with pytest.raises(ValueError) as refused:
        read_dataset(str(path), "train")
    assert str(refused.value).startswith(f"{path}:3: ") and sentence in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "content, sentence",
    [
        (b"", "holds no rows"),
        (b"\n \n", "holds no rows"),
        (json.dumps(GOOD).encode("utf-16"), "is UTF-16; it must be text in UTF-8"),
        (b"\x1f\x8b\x08\x00", "is compressed"),
    ],
)
def test_a_file_that_is_no_json_lines_is_refused(tmp_path, content, sentence):
    (tmp_path / "train.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=sentence):
        read_dataset(str(tmp_path / "train.jsonl"), "train")


def test_other_columns_come_back_as_they_were_whatever_their_types(tmp_path):
    values = ["4", 10**400, 4.5, None, {"a": None}, [1, "x", {}], "\x00json:4", True]
    path = lines(tmp_path, [GOOD | {"answer": value} for value in values])
    assert [row["answer"] for row in read_dataset(str(path), "train")] == values


def test_what_datasets_cannot_load_is_one_sentence(tmp_path):
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(ValueError, match=f"{tmp_path} cannot be loaded: ") as refused:
        read_dataset(str(tmp_path), "train")
    assert "\n" not in str(refused.value)


def test_an_array_is_read_and_its_rows_are_counted(tmp_path):
    path = tmp_path / "train.json"
    lines(tmp_path, [GOOD])
    path.write_text(json.dumps([GOOD, GOOD]))
    assert len(read_dataset(str(path), "train")) == 2
    path.write_text(json.dumps([GOOD, GOOD | {"completion": None}]))
    with pytest.raises(ValueError, match=f"row 2 of {path}: completion must be"):
        read_dataset(str(path), "train")
    path.write_text("[1")
    with pytest.raises(ValueError, match=f"{path} is not JSON"):
        read_dataset(str(path), "train")


def folder_of_parquet(folder, rows):
    data = datasets.Dataset.from_list(rows)
    data = data.cast_column("images", datasets.List(datasets.Image()))
    data.to_parquet(folder / "train-0.parquet")
    return folder


def test_rows_of_parquet_are_checked_and_their_pictures_counted(tmp_path):
    picture = Image.new("RGB", (8, 8))
    good = GOOD | {"images": [picture]}
    data = read_dataset(str(folder_of_parquet(tmp_path, [good, good])), "train")
    assert data[1]["images"][0].size == (8, 8)
    for row, sentence in (
        (good | {"completion": None}, "row 2 of .*: completion must be a text"),
        (good | {"prompt": [USER], "images": []}, "row 2 of .*: its messages have 1 image parts"),
    ):
        first = good | {"prompt": [USER]} if "prompt" in sentence or row["images"] == [] else good
        folder_of_parquet(tmp_path, [first, row])
        with pytest.raises(ValueError, match=sentence):
            read_dataset(str(tmp_path), "train")


@pytest.mark.parametrize("name", ["data.jsonl", "train.jsonl", "part1.csv"])
@pytest.mark.parametrize("pictures", ["images/val", "images/train2014", "test", "images/test_1"])
def test_pictures_do_not_say_which_files_are_of_a_split(tmp_path, name, pictures):
    (tmp_path / pictures).mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / pictures / "test_1.png")
    picture = f"{pictures}/test_1.png"
    if name.endswith(".csv"):
        (tmp_path / name).write_text(f"prompt,completion,image\nlook,a,{picture}\n")
    else:
        (tmp_path / name).write_text(json.dumps(GOOD | {"images": [picture]}) + "\n")
    (row,) = read_dataset(str(tmp_path))
    assert row["images"][0].size == (8, 8) and name in row["source_row"]
    with pytest.raises(ValueError, match="has no split 'validation', only train"):
        read_dataset(str(tmp_path), "validation")


def test_a_card_that_says_nothing_of_splits_leaves_them_to_the_names_of_files(tmp_path):
    lines(tmp_path, [GOOD], "notes_train.jsonl")
    (tmp_path / "images" / "val").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "val" / "1.png")
    for card in ("# notes\n", "---\nlicense: mit\n---\n# configs\n"):
        (tmp_path / "README.md").write_text(card)
        (row,) = read_dataset(str(tmp_path))
        assert row["source_row"] == f"{tmp_path / 'notes_train.jsonl'}:1"
    files = "- split: test\n    path: notes_train.jsonl"
    card = f"---\nconfigs:\n- config_name: default\n  data_files:\n  {files}\n---\n"
    (tmp_path / "README.md").write_text(card)
    with pytest.raises(ValueError, match="has no split 'train', only test"):
        read_dataset(str(tmp_path))


@pytest.mark.parametrize("typed", [True, False], ids=["pictures", "bytes"])
@pytest.mark.parametrize("order", [[1, 0, 3, 2], [1, 2, 3], [3, 1]])
def test_rows_that_were_selected_keep_their_own_pictures(typed, order):
    """Every second row has one; counts of other rows would refuse them, or move the pictures."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    picture = {"bytes": file.getvalue(), "path": None}
    rows = [
        {"prompt": "look", "completion": "a", "images": [picture] * (i % 2), "n": i}
        for i in range(4)
    ]
    data = datasets.Dataset.from_list(rows)
    if typed:
        data = data.cast_column("images", datasets.List(datasets.Image()))
    for row, n in zip(read_dataset(data.select(order)), order, strict=True):
        assert row["n"] == n and len(row["images"]) == n % 2
        assert isinstance(row["prompt"][0]["content"], str if n % 2 == 0 else list)


def test_lists_of_a_fixed_length_are_lists_of_pictures():
    pictures = [Image.new("RGB", (8, 8)), Image.new("RGB", (9, 9))]
    rows = [{"prompt": "<image>or <image>", "completion": "a", "images": pictures}]
    data = datasets.Dataset.from_list(rows)
    data = data.cast_column("images", datasets.List(datasets.Image(), length=2))
    (row,) = read_dataset(data)
    assert [image.size for image in row["images"]] == [(8, 8), (9, 9)]


def test_an_empty_parquet_file_among_others_is_named(tmp_path):
    folder_of_parquet(tmp_path, [GOOD | {"images": [Image.new("RGB", (8, 8))]}])
    (tmp_path / "train-1.parquet").touch()
    with pytest.raises(ValueError, match="train-1.parquet is not a Parquet file"):
        read_dataset(str(tmp_path), "train")


def test_paths_in_parquet_may_not_leave_the_folder_either(tmp_path):
    (tmp_path / "data").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "data" / "a.png")
    for path, inside in (("a.png", True), ("../a.png", False), (str(tmp_path / "a.png"), False)):
        rows = [GOOD | {"images": [{"path": path, "bytes": None}]}]  # not yet typed as pictures
        datasets.Dataset.from_list(rows).to_parquet(tmp_path / "data" / "train-0.parquet")
        data = read_dataset(str(tmp_path / "data"), "train")
        if inside:
            assert data[0]["images"][0].size == (8, 8)
        else:
            with pytest.raises(ValueError, match="row 1 of .*leaves the folder"):
                data[0]


def test_messages_without_an_image_part_may_have_images():
    check_images({"prompt": [{"role": "user", "content": "look"}], "images": [1, 2]})
    check_images({"prompt": "look <image>", "image": 1})
    own = {"role": "user", "content": [{"type": "image", "image": 1}]}
    with pytest.raises(BadRow, match="0 image parts, and the row has 1 images"):
        check_images({"prompt": [own], "image": 1})
    check_images({"prompt": [own]})
