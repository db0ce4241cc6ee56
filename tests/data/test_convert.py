"""Rows written in the columns of another program are read again as the same rows."""

from __future__ import annotations

import json

import datasets
import pytest
from PIL import Image

from percbal.data import convert as writing
from percbal.data.convert import convert
from percbal.data.reading import read_dataset
from percbal.evaluate.row_judges import judge_of
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


def written(folder, rows, to, **options):
    """Rows as one program has them, read again."""
    Image.new("RGB", (4, 4)).save(folder / "a.png")
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = read_dataset(str(path), completions=None)
    return convert(data, to, "train", folder / "out", source=str(path), **options)


QUESTION = {"prompt": "look", "completion": "yes", "image": "a.png"}
VALUES = {
    "other keys": ([{"a": 1}, {"b": "x"}], ['{"a": 1}', '{"b": "x"}']),
    "other keys within": ([{"a": {"b": 1}}, {"a": {"c": 2}}], None),
    "a key that one lacks": ([[{"a": 1, "b": 2}], [{"a": 1}]], None),
    "the same keys": ([{"a": 1, "b": None}, {"a": 2, "b": "x"}], [{"a": 1, "b": None}, ...]),
    "lists of several types": ([[1], ["a"]], ["[1]", '["a"]']),
    "a number beyond 64 bits": ([1, 2**70], ["1", str(2**70)]),
    "empty": ([{"a": {}}, {"a": {}}], ['{"a": {}}'] * 2),
    "numbers": ([1, 2.5], [1.0, 2.5]),
    "no number": ([1.5, float("nan")], [1.5, ...]),
}


@pytest.mark.parametrize("kind", VALUES)
def test_verl_keeps_a_value_or_writes_its_json(tmp_path, kind):
    values, wanted = VALUES[kind]
    wanted = [json.dumps(value) for value in values] if wanted is None else wanted
    made = written(tmp_path, [QUESTION | {"x": value} for value in values], "verl")
    found = datasets.Dataset.from_parquet(str(made))["x"][:]
    for got, was, want in zip(found, values, wanted, strict=True):
        assert got == want or (want is ... and str(got) == str(was))


def test_verl_has_structs_where_it_reads_their_keys(tmp_path):
    models = [{"style": "s", "ground_truth": {"a": 1}}, {"style": "s", "ground_truth": {"b": 1}}]
    infos = [{"index": 1}, {"index": 2, "split": "x"}]
    rows = [
        QUESTION | {"reward_model": model, "extra_info": info}
        for model, info in zip(models, infos, strict=True)
    ]
    made = datasets.Dataset.from_parquet(str(written(tmp_path, rows, "verl")))
    assert [model["style"] for model in made["reward_model"]] == ["s", "s"]
    truths = [json.loads(model["ground_truth"]) for model in made["reward_model"]]
    assert truths == [{"a": 1}, {"b": 1}]
    assert made["extra_info"][:] == [{"index": 1, "split": None}, infos[1]]


def test_rows_of_charts_are_judged_as_before_in_the_file_for_verl(tmp_path):
    """Charts have other labels in every row, which a struct would fill with null."""
    path = export_jsonl(get_task("chart"), "train", 3, tmp_path / "in")
    data = read_dataset(str(path), completions=None)
    again = read_dataset(str(convert(data, "verl", "train", tmp_path / "out", source="")))
    for row, was in zip(again, data, strict=True):
        judge, truth = judge_of(row)
        assert truth == was["truth"] and row["segments"] == was["segments"]
        score = judge.score(row["completion"][0]["content"], truth)
        assert score.answer and score.perception


CALL = {"type": "function", "function": {"name": "zoom", "arguments": {}}}
SAID = {"role": "assistant", "content": "yes"}
LOST = {
    "several messages": (
        {"prompt": "look", "completion": [SAID, {"role": "user", "content": "sure?"}, SAID]},
        {"llama-factory", "paper"},
        "the columns hold one message as the response, it has 3",
    ),
    "tool calls": (
        {"prompt": "look", "completion": [SAID | {"tool_calls": [CALL]}]},
        {"verl", "paper"},
        "columns hold role and content of a message, one has tool_calls",
    ),
    "a system": (
        {"prompt": "look", "completion": "yes", "system": "be brief"},
        {"paper"},
        "the paper's columns hold one message of the user",
    ),
}


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("kind", LOST)
def test_messages_that_the_columns_would_lose_are_refused(tmp_path, kind, to):
    row, refused, sentence = LOST[kind]
    if to in refused:
        with pytest.raises(ValueError, match=f"train.jsonl:1: .*{sentence}"):
            written(tmp_path, [row], to)
        return
    (again,) = rows_of(written(tmp_path, [row], to))
    (before,) = rows_of(tmp_path / "train.jsonl")
    assert {name: again[name] for name in before} == before


def test_a_description_that_an_interruption_left_out_is_written_later(tmp_path, monkeypatch):
    describe = writing._describe

    def interrupted(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "_describe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        written(tmp_path, [QUESTION], "llama-factory")
    monkeypatch.setattr(writing, "_describe", describe)
    info = written(tmp_path, [QUESTION], "llama-factory").with_name("dataset_info.json")
    assert json.loads(info.read_text())["train"]["file_name"] == "train.jsonl"
    info.write_text('{"half')
    written(tmp_path, [QUESTION], "llama-factory")
    assert "train" in json.loads(info.read_text())
