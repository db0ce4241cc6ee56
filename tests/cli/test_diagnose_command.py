"""Facts about ``percbal diagnose`` on a data set, alone and while a model trains."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter

import pytest

from percbal.cli.main import main
from percbal.models.tiny import build_tiny_vlm
from percbal.tasks import get_task
from percbal.tasks.preview import export_jsonl

SIZES = {"hidden": 16, "layers": 1, "heads": 2, "mlp": 32}
GRAPH = {"v": 3, "c": 2, "edges": [[0, 1], [1, 2]]}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model, an export, and beside its pictures rows in the paper's columns."""
    directory = tmp_path_factory.mktemp("made")
    build_tiny_vlm(directory / "model", get_task("sudoku").vocabulary(), **SIZES)
    export_jsonl(get_task("sudoku"), "train", 4, directory / "data")
    picture = {"image": "images/train-000000.png"}
    rows = [
        {"query": "Solve it.", "ground_truth": [0, 1, 2] * 27, "response": ""},
        {"query": "Colour it.", "ground_truth": json.dumps(GRAPH), "response": ""},
    ]
    lines = [json.dumps(row | picture) for row in rows]
    (directory / "data" / "paper.jsonl").write_text("\n".join(lines))
    lacking = {"prompt": "look", "answer": "4", "topic": "x"} | picture
    (directory / "data" / "lacking.jsonl").write_text(json.dumps(lacking))
    lacking = lines[0] + "\n" + json.dumps({"query": "look", "ground_truth": "soon"} | picture)
    (directory / "data" / "one.jsonl").write_text(lacking)
    return directory


def diagnose(made, data, *options):
    arguments = [made / "model", "--dataset", made / "data" / data, "--max-new-tokens", 3]
    main(["diagnose", *map(str, (*arguments, *options))])


@pytest.mark.parametrize("data, n", [("train.jsonl", 4), ("paper.jsonl", 2)])
def test_a_data_set_is_diagnosed(data, n, made, tmp_path, capsys):
    diagnose(made, data, "--out", tmp_path / "out.json")
    said = capsys.readouterr().out
    assert f"n = {n}" in said and f"a {n} of {n}, a_p {n} of {n}, a_r {n} of {n}" in said
    found = json.loads((tmp_path / "out.json").read_text())
    places = [record["place"].rpartition("/")[2] for record in found["records"]]
    assert places == [f"{data}:{i + 1}" for i in range(n)]
    assert found["cut"] == {"a": n, "a_p": n, "a_r": n, "a_r_text": n}
    diagnose(made, data, "--n", "1", "--response-format", "json", "--state-format")
    assert "n = 1" in capsys.readouterr().out


def test_a_task_is_set_as_percbal_tasks_sets_it(made, tmp_path):
    for options in (["--size", "4", "--verbosity", "0"], ["--option", "size=4", "--verbosity=0"]):
        arguments = [made / "model", "--n", 1, "--max-new-tokens", 1, "--out", tmp_path / "out"]
        main(["diagnose", *map(str, arguments), *options])
        found = json.loads((tmp_path / "out").read_text())["source"]
        described = get_task("sudoku", verbosity=0).describe()
        options = {"size": 4, "verbosity": 0}
        assert found == {"task": "sudoku", "options": options, "described": described}


def test_the_rows_of_a_data_set_are_read_once_with_the_page_too(made, tmp_path, monkeypatch):
    read, judged = Counter(), Counter()
    from percbal.data import reading
    from percbal.evaluate import row_questions

    def counted(counter, function):
        def called(*arguments, **options):
            counter[function.__name__] += 1
            return function(*arguments, **options)

        return called

    monkeypatch.setattr(reading, "read_rows", counted(read, reading.read_rows))
    monkeypatch.setattr(row_questions, "judge_of", counted(judged, row_questions.judge_of))
    diagnose(made, "train.jsonl", "--out", tmp_path / "r.json", "--report", tmp_path / "r.html")
    assert read == {"read_rows": 1} and judged == {"judge_of": 4}
    assert (tmp_path / "r.html").read_text().count("<img src=") == 4


def test_pictures_of_another_folder_are_on_the_page(made, tmp_path, capsys):
    (tmp_path / "rows").mkdir()
    row = {"query": "look", "perception": "a", "answer": "b", "response": ""}
    row["image"] = str(made / "data" / "images" / "train-000000.png")
    (tmp_path / "rows" / "rows.jsonl").write_text(json.dumps(row))
    result, page = tmp_path / "r.json", tmp_path / "r.html"
    within = ["--images-within", str(made / "data")]
    arguments = ["--dataset", tmp_path / "rows" / "rows.jsonl", "--max-new-tokens", 3, *within]
    arguments += ["--out", result, "--report", page]
    main(["diagnose", *map(str, (made / "model", *arguments))])
    assert page.read_text().count("<img src=") == 1
    main(["report", str(result), "--out", str(page), *within])
    assert page.read_text().count("<img src=") == 1
    main(["report", str(result), "--out", str(page)])
    text = page.read_text()
    assert "<img src=" not in text and "images_within names another one" in text


@pytest.mark.parametrize(
    "data, options, sentence",
    [
        ("lacking.jsonl", [], "no true perception: .* its columns are answer, topic, prompt"),
        ("one.jsonl", [], "one.jsonl:2: it has no true perception"),
        ("train.jsonl", ["--option", "size=4"], "--option size=4 has no effect with --dataset"),
        ("train.jsonl", ["--level", "easy"], "--level easy has no effect with --dataset"),
        ("train.jsonl", ["--option", "level=easy"], "--option level=easy has no effect with --dat"),
        ("none.jsonl", [], "there is no file .*none.jsonl"),
        ("", ["--split", "dev"], "has no split 'dev', only "),
    ],
)
def test_what_cannot_be_diagnosed_is_one_sentence(data, options, sentence, made, capsys):
    """Said before the model, which is not there, is looked for."""
    with pytest.raises(SystemExit) as end:
        main(["diagnose", "/nowhere", "--dataset", str(made / "data" / data), *options])
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert end.value.code == 2 and said.startswith("percbal diagnose: ")
    assert re.search(sentence, said)


def test_rows_that_cannot_be_asked_can_be_skipped(made, capsys):
    diagnose(made, "one.jsonl", "--on-bad-row", "skip")
    assert "n = 1" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["sft", pytest.param("grpo", marks=pytest.mark.slow)])
def test_a_data_set_is_diagnosed_while_a_model_trains(command, made, tmp_path):
    arguments = ["--model", made / "model", "--dataset", made / "data" / "train.jsonl"]
    arguments += ["--output_dir", tmp_path, "--max_steps", 1, "--per_device_train_batch_size", 2]
    arguments += ["--use_cpu", "--bf16", "false", "--report_to", "none", "--diagnose_every", 1]
    arguments += ["--diagnose_dataset", made / "data" / "paper.jsonl", "--diagnose_n", 2]
    if command == "grpo":
        arguments += ["--num_generations", 2, "--max_completion_length", 4]
    main([command, *map(str, arguments)])
    state = json.loads((tmp_path / "checkpoint-1" / "trainer_state.json").read_text())
    (logged,) = [entry for entry in state["log_history"] if "diagnosis/a" in entry]
    assert logged["diagnosis/cut"] in (0.0, 0.5, 1.0)


@pytest.mark.parametrize(
    "options, sentence",
    [
        (["--diagnose_dataset", "lacking.jsonl"], "has no true perception"),
        (["--diagnose_dataset", "one.jsonl"], "one.jsonl:2: it has no true perception"),
        (["--diagnose_dataset", "train.jsonl", "--diagnose_option", "size=4"], "diagnose_option"),
        (
            ["--diagnose_option", "blanks=5.5"],
            "option blanks of sudoku must be 2 numbers or a whole number, got 5.5",
        ),
        (
            ["--diagnose_split", "dev"],
            "the split of a task is one of train, test, train_sft, train_rl, got 'dev'",
        ),
    ],
)
def test_a_diagnosis_that_cannot_be_made_stops_a_training_before_it_begins(
    options, sentence, made, monkeypatch, capsys
):
    monkeypatch.chdir(made / "data")
    arguments = ["--model", "/nowhere", "--dataset", "train.jsonl", "--output_dir", "out"]
    with pytest.raises(SystemExit) as end:
        main(["sft", *arguments, "--use_cpu", "--bf16", "false", "--diagnose_every", "1", *options])
    assert end.value.code == 2 and sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    "option", ["blanks=5.5", "max_guesses=x", "noise=x", "fonts=3", "rotation=[1]"]
)
def test_an_option_of_a_wrong_type_is_one_sentence(option, capsys):
    with pytest.raises(SystemExit) as end:
        main(["diagnose", "/nowhere", "--option", option])
    said = capsys.readouterr().err
    assert end.value.code == 2 and said.count("\n") == 1
    name = option.partition("=")[0]
    assert said.startswith(f"percbal diagnose: option {name} of sudoku must be ")


def test_a_split_that_no_task_has(capsys):
    with pytest.raises(SystemExit) as end:
        main(["diagnose", "/nowhere", "--split", "dev"])
    assert end.value.code == 2
    assert (
        "the split of a task is one of train, test, train_sft, train_rl, got 'dev'"
        in capsys.readouterr().err
    )


def test_what_is_left_out_of_a_generation_config_is_named(made, tmp_path, capsys):
    """And which attention computed; the config is the checkpoint's, so the copy has its own."""
    shutil.copytree(made / "model", tmp_path / "model")
    path = tmp_path / "model" / "generation_config.json"
    config = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(config | {"repetition_penalty": 2.0, "do_sample": True}))
    arguments = ["--n", "1", "--option", "size=4", "--max-new-tokens", "2", "--attention", "eager"]
    main(["diagnose", str(tmp_path / "model"), *arguments])
    said = capsys.readouterr().out.splitlines()
    assert "attention: eager" in said
    left = "left out of its generation config: "
    assert f"{left}do_sample true, repetition_penalty 2.0" in said
    main(["diagnose", str(made / "model"), *arguments])
    assert left not in capsys.readouterr().out
