"""Rows written in the columns of another program are read again as the same rows."""

from __future__ import annotations

import json

import datasets
import pytest
from PIL import Image

from percbal.data import convert as writing
from percbal.data.convert import convert
from percbal.data.reading import read_dataset
from percbal.tasks import get_task
from percbal.tasks.preview import export_jsonl

TARGETS = ("trl", "llama-factory", "verl", "paper")
CELLS = [0, 5, *[0] * 79]


def rows_of(source, **options):
    """Everything but where a row was read, pictures as their pixels."""
    found = []
    for row in read_dataset(str(source), "train", completions=None, **options):
        row = {k: v for k, v in row.items() if v is not None and k != "source_row"}
        row["images"] = [(image.mode, image.size, image.tobytes()) for image in row["images"]]
        found.append(row)
    return found


@pytest.fixture
def source(tmp_path):
    """Rows with and without an image, a picture on its side, a response or none."""
    (tmp_path / "in").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.effect_noise((12, 8), 90).convert("RGB").save(tmp_path / "in" / "a.jpg", exif=exif)
    Image.effect_noise((9, 9), 90).save(tmp_path / "in" / "b.png")
    rows = [
        {"query": "solve <image> now", "image": "a.jpg", "ground_truth": json.dumps(CELLS)},
        {"query": "solve", "image": "b.png", "ground_truth": json.dumps(CELLS), "response": "1"},
        {"query": "text alone", "response": "2", "answer": "4", "segments": [{"type": "x"}]},
    ]
    path = tmp_path / "in" / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("to", TARGETS)
def test_a_round_trip_gives_the_same_rows(source, tmp_path, to):
    data = read_dataset(str(source), "train", completions=None)
    path = convert(data, to, "train", tmp_path / "out", source=str(source))
    again, before = rows_of(path), rows_of(source)
    for row, was in zip(again, before, strict=True):
        assert {name: row.get(name) for name in was} == was
    assert before[0]["images"][0][1] == (8, 12)  # upright
    assert (tmp_path / "out" / "images" / "train-000000-0.jpeg").read_bytes() == (
        source.parent / "a.jpg"
    ).read_bytes()
    assert convert(data, to, "train", tmp_path / "out", source=str(source)) == path


def test_the_columns_are_those_of_the_program(source, tmp_path):
    data = read_dataset(str(source), "train", completions=None)
    files = {to: convert(data, to, "train", tmp_path / to, source="x") for to in TARGETS}
    lines = {to: json.loads(files[to].read_text().split("\n")[1]) for to in TARGETS if to != "verl"}
    user, answer = {"role": "user"}, {"role": "assistant", "content": "1"}
    parts = [{"type": "image"}, {"type": "text", "text": "solve"}]
    images = ["images/train-000001-0.png"]
    assert lines["trl"]["prompt"] == [user | {"content": parts}]
    assert lines["trl"]["completion"] == [answer] and lines["trl"]["images"] == images
    assert lines["llama-factory"]["messages"] == [user | {"content": "<image>solve"}, answer]
    described = json.loads((tmp_path / "llama-factory" / "dataset_info.json").read_text())
    assert described["train"]["file_name"] == "train.jsonl"
    assert lines["paper"]["query"] == "solve" and lines["paper"]["image"] == images[0]
    row = datasets.Dataset.from_parquet(str(files["verl"]))[1]
    assert row["prompt"] == [user | {"content": "<image>solve"}]
    assert row["images"][0]["bytes"] == (source.parent / "b.png").read_bytes()
    assert row["data_source"] == "percbal" and row["reward_model"]["style"] == "rule"
    assert json.loads(row["reward_model"]["ground_truth"]) == {
        "perception": json.dumps(CELLS, separators=(",", ":"))
    }


def test_verl_keeps_its_own_truth_and_the_types_of_other_columns(tmp_path):
    rows = [
        {"prompt": "a", "reward_model": {"ground_truth": "4", "style": "s"}, "n": 1, "x": [1]},
        {"prompt": "a", "reward_model": {"ground_truth": "5", "style": "s"}, "n": 2.5, "x": "y"},
    ]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = read_dataset(str(path), completions=None)
    made = datasets.Dataset.from_parquet(
        str(convert(data, "verl", "train", tmp_path / "out", source=""))
    )
    assert [row["reward_model"]["ground_truth"] for row in made] == ["4", "5"]
    assert made["n"][:] == [1.0, 2.5] and made["x"][:] == ["[1]", "y"]


@pytest.mark.parametrize("to", ["trl", "verl"])
def test_it_goes_on_where_it_was_interrupted(source, tmp_path, monkeypatch, to):
    data = read_dataset(str(source), "train", completions=None)
    whole = rows_of(convert(data, to, "train", tmp_path / "whole", source=""))
    made, line = [], writing._line

    def interrupted(row, form, name, folder):
        if len(made) == 1:
            raise KeyboardInterrupt
        made.append(name)
        return line(row, form, name, folder)

    monkeypatch.setattr(writing, "_line", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert(data, to, "train", tmp_path / "out", source="")
    with open(tmp_path / "out" / "train.jsonl.part", "a") as part:
        part.write('{"half')  # of a line
    monkeypatch.setattr(writing, "_line", line)
    assert rows_of(convert(data, to, "train", tmp_path / "out", source="")) == whole
    with pytest.raises(ValueError, match="holds another data set .* choose a new directory"):
        convert(data, to, "train", tmp_path / "out", source="another")


def mend_a_row(source):
    source.write_text(source.read_text().replace("text alone", "text mended"))


def mend_a_picture(source):
    Image.effect_noise((9, 9), 90).save(source.parent / "b.png")


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("change", [mend_a_row, mend_a_picture])
@pytest.mark.parametrize("to", ["trl", "verl"])
def test_a_folder_of_the_same_source_as_it_was_before_is_refused(
    source, tmp_path, monkeypatch, to, change, whole
):
    """Whether it is whole, and would be taken for the new one, or would hold rows of both."""
    out, line = tmp_path / "out", writing._line

    def interrupted(row, form, name, folder):
        if name.endswith("1"):
            raise KeyboardInterrupt
        return line(row, form, name, folder)

    def made():
        data = read_dataset(str(source), "train", completions=None)
        return convert(data, to, "train", out, source=str(source))

    if whole:
        made()
    else:
        monkeypatch.setattr(writing, "_line", interrupted)
        with pytest.raises(KeyboardInterrupt):
            made()
        monkeypatch.setattr(writing, "_line", line)
    change(source)
    said = f"{out} was made of other rows from {source}, which has .* remove {out}, or choose a new"
    with pytest.raises(ValueError, match=said):
        made()


def test_a_source_that_was_only_written_again_is_the_same(source, tmp_path):
    def made():
        data = read_dataset(str(source), "train", completions=None)
        return convert(data, "trl", "train", tmp_path / "out", source=str(source))

    first = made()
    for path in source.parent.iterdir():
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    assert made() == first


def test_a_row_that_the_columns_cannot_hold_is_named_or_skipped(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    good = {"prompt": "look", "completion": "yes", "images": ["a.png"]}
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in (good, good | {"images": ["a.png"] * 2})))
    data = read_dataset(str(path))
    with pytest.raises(ValueError, match=f"{path}:2: the paper's columns hold one image, it has 2"):
        convert(data, "paper", "train", tmp_path / "out", source="")
    made = convert(data, "paper", "train", tmp_path / "out", source="", skip=True)
    assert len(rows_of(made)) == 1


def test_an_export_of_a_task_keeps_every_column(tmp_path):
    path = export_jsonl(get_task("sudoku"), "train", 3, tmp_path / "in")
    data = read_dataset(str(path), completions=None)
    for to in ("trl", "llama-factory", "verl"):
        made = convert(data, to, "train", tmp_path / to, source="")
        written = read_dataset(str(made))
        for row, was in zip(written, data, strict=True):
            for name in ("prompt", "completion", "perception", "answer", "truth", "segments"):
                assert row[name] == was[name], (to, name)
