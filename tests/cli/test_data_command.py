"""`percbal data check` and `convert`, and what training does with rows that cannot be used."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from percbal.cli.main import main
from percbal.data.reading import read_dataset
from percbal.models.tiny import build_tiny_vlm
from percbal.sft import check
from percbal.tasks import get_task
from percbal.tasks.preview import export_jsonl

SIZES = {"hidden": 16, "layers": 1, "heads": 2, "mlp": 32}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build_tiny_vlm(
        tmp_path_factory.mktemp("model"), get_task("sudoku").vocabulary(), **SIZES
    )


@pytest.fixture
def good(tmp_path):
    return export_jsonl(get_task("sudoku"), "train", 6, tmp_path / "data")


@pytest.fixture
def bad(good):
    """Row 2 has no tags, row 3 a damaged picture, row 5 one image too few."""
    rows = [json.loads(line) for line in good.read_text().splitlines()]
    path = good.parent / rows[2]["images"][0]
    Image.effect_noise((90, 90), 99).convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[:9000])
    del rows[1]["segments"]
    rows[1]["messages"][1]["content"] = "r1c1=1"
    rows[4]["images"] = []
    good.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return good


FAILURES = {2: "no perception", 3: "images/train-000002.png is damaged", 5: "1 image parts"}


def run_check(capsys, data, model, *options):
    """Exit status, what was said."""
    status = 0
    try:
        main(["data", "check", str(data), "--model", str(model), *map(str, options)])
    except SystemExit as exit_:
        status = exit_.code
    return status, capsys.readouterr().out


@pytest.mark.parametrize("workers", [0, 2])
def test_a_check_counts_tokens_by_segment_as_training_does(good, model, capsys, tmp_path, workers):
    out = tmp_path / "out.json"
    status, said = run_check(
        capsys, good, model, "--workers", workers, "--max-length", 160, "--out", out
    )
    found = json.loads(out.read_text())
    assert status == 0 and found["rows"] == 6 and found["failed"] == 0 and found["images"] == 6
    # the tiny model's words are tokens: 16 cells and two tags; the rest and the end of the turn
    rows = read_dataset(str(good))
    words = [row["completion"][0]["content"].split() for row in rows]
    assert found["perception"] == 6 * 18
    assert found["reasoning"] == sum(len(w) + 1 for w in words) - 6 * 18
    lengths = found["quantiles"]["tokens"]
    assert lengths["most"] - lengths["least"] == max(map(len, words)) - min(map(len, words))
    assert found["quantiles"]["image width"] == dict.fromkeys(lengths, 64)
    assert 0 < found["cut"] <= 6 and "rows are longer than max_length=160 and cut" in said
    assert f"--- {good}:1\n[prompt] " in said and "[perception] <perception> r1c1=" in said


def test_every_row_that_fails_is_named_with_its_reason(bad, model, capsys, tmp_path):
    page, out = tmp_path / "page.html", tmp_path / "out.json"
    status, said = run_check(capsys, bad, model, "--html", page, "--out", out)
    assert status == 1 and "6 rows, 3 of them cannot be used" in said
    failures = json.loads(out.read_text())["failures"]
    assert {f["row"] for f in failures} == {f"{bad}:{line}" for line in FAILURES}
    for line, why in FAILURES.items():
        assert any(row.startswith(f"{bad}:{line}: ") and why in row for row in said.splitlines())
        assert any(why in f["problem"] for f in failures if f["row"] == f"{bad}:{line}")
        assert f"{bad}:{line}" in page.read_text()
    assert '<span class="s-perception">&lt;perception&gt; r1c1=' in page.read_text()


def test_an_interrupted_check_says_what_it_found_so_far(good, model, capsys, monkeypatch):
    tried = check._Rows._tried

    def interrupted(rows, place, example, **options):
        if place.endswith(":4"):
            raise KeyboardInterrupt
        return tried(rows, place, example, **options)

    monkeypatch.setattr(check, "CHUNK", 1)
    monkeypatch.setattr(check._Rows, "_tried", interrupted)
    status, said = run_check(capsys, good, model, "--workers", 0)
    assert status == 130 and "(interrupted, the first 3 rows)" in said


def test_a_check_for_grpo_needs_no_responses(good, model, capsys, tmp_path):
    rows = [json.loads(line) for line in good.read_text().splitlines()]
    good.write_text("".join(json.dumps(row | {"messages": None}) + "\n" for row in rows))
    assert run_check(capsys, good, model, "--command", "grpo")[0] == 0
    options = ("--command", "grpo", "--segments", "perception,reasoning")
    assert run_check(capsys, good, model, *options)[0] == 2
    status, said = run_check(capsys, good, model)
    assert status == 1 and "6 rows, 6 of them cannot be used" in said
    assert f"{good}:6: completion must be a text or a list of messages" in said


def test_a_terminal_gets_colours_and_no_commands_of_the_data():
    from percbal.data.check import TriedRow
    from percbal.report.rows import coloured

    row = TriedRow("it:1", pieces=[("prompt", "look\x1b[2J"), ("perception", "p"), ("other", "x")])
    assert coloured(row, colour=True) == (
        "--- it:1\n\x1b[2mlook\\x1b[2J\x1b[0m\x1b[36mp\x1b[0m\x1b[9mx\x1b[0m"
    )


@pytest.mark.parametrize("option", ["--out", "--html"])
def test_what_cannot_be_written_is_said_before_rows_are_read(option, tmp_path, capsys):
    for path, why in (("none/x", "there is no directory {}/none"), ("", "{} is a directory")):
        words = ["d.jsonl", "--model", "/nowhere", option, str(tmp_path / path)]
        with pytest.raises(SystemExit) as exit_:
            main(["data", "check", *words])
        said = capsys.readouterr().err
        assert exit_.value.code == 2
        assert said == f"percbal data: {option}: {why.format(tmp_path)}\n"


def numbers(capsys, data, model, out, *options):
    assert run_check(capsys, data, model, "--out", out, *options)[0] == 0
    return json.loads(out.read_text())


@pytest.mark.parametrize("to", ["trl", "llama-factory", "verl"])
def test_a_data_set_in_another_form_is_trained_on_the_same_tokens(
    good, model, tmp_path, capsys, to
):
    """As LLaMA-Factory's, the word <image> must become an image and never be a word."""
    main(["data", "convert", str(good), "--to", to, "--out", str(tmp_path / "other")])
    path = capsys.readouterr().out.strip()
    out = tmp_path / "out.json"
    assert numbers(capsys, path, model, out) == numbers(capsys, good, model, out)
    with pytest.raises(SystemExit) as exit_:
        main(["data", "convert", str(good), "--to", "paper", "--out", str(tmp_path / "other")])
    assert exit_.value.code == 2 and "holds another data set" in capsys.readouterr().err


def test_a_check_reads_other_tags(good, model, tmp_path, capsys):
    rows = [json.loads(line) for line in good.read_text().splitlines()]
    for row in rows:
        del row["segments"]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    out = tmp_path / "out.json"
    good.write_text(text)
    tagged = numbers(capsys, good, model, out)
    assert numbers(capsys, good, model, out, "--tag-tokens", "other")["perception"] == 6 * 16
    good.write_text(text.replace("<perception>", "<see>").replace("</perception>", "</see>"))
    options = ["--perception-tags", "<see>", "</see>"]
    assert numbers(capsys, good, model, out, *options)["perception"] == tagged["perception"]


def train(command, model, data, out, *options):
    arguments = ["--model", model, "--dataset", data, "--output_dir", out, "--max_steps", "1"]
    arguments += ["--per_device_train_batch_size", "2", "--use_cpu", "--bf16", "false"]
    arguments += ["--report_to", "none", "--save_strategy", "no", "--disable_tqdm", "true"]
    if command == "grpo":
        arguments += ["--num_generations", "2", "--max_completion_length", "4"]
    main([command, *map(str, arguments), *options])


def test_a_response_without_tags_stops_training_with_its_file_and_row(bad, model, tmp_path, capsys):
    lines = bad.read_text().splitlines()
    bad.write_text(lines[0] + "\n" + lines[1] + "\n")
    with pytest.raises(SystemExit) as exit_:
        train("sft", model, bad, tmp_path / "out")
    said = capsys.readouterr().err.splitlines()[-1]
    assert exit_.value.code == 2 and said.startswith(f"percbal sft: {bad}:2 has no")


@pytest.mark.parametrize("command", ["sft", "grpo"])
def test_bad_rows_are_skipped_and_counted(command, bad, model, tmp_path, capsys, caplog):
    train(command, model, bad, tmp_path / "out", "--on_bad_row", "skip")
    said = capsys.readouterr().err
    lines = FAILURES if command == "sft" else {3: FAILURES[3], 5: FAILURES[5]}  # needs no tags
    assert f"{len(lines)} of 6 rows are left out" in said
    assert all(f"{bad}:{line}: " in said for line in lines)
    assert (tmp_path / "out" / "model.safetensors").is_file()


@pytest.mark.parametrize("command", ["sft", "grpo"])
def test_a_data_set_of_bad_rows_alone_is_refused(command, bad, model, tmp_path, capsys):
    lines = bad.read_text().splitlines()
    for kept in ([2], [4]):  # found when it is encoded, found when it is read
        bad.write_text("".join(lines[i] + "\n" for i in kept))
        with pytest.raises(SystemExit) as exit_:
            train(command, model, bad, tmp_path / "out", "--on_bad_row", "skip")
        said = capsys.readouterr().err.splitlines()[-1]
        assert exit_.value.code == 2 and f"{bad}:1: " in said


@pytest.mark.parametrize("command", ["sft", "grpo"])
def test_a_dry_run_tries_everything_and_trains_nothing(command, good, model, tmp_path, capsys):
    train(command, model, good, tmp_path / "out", "--dry_run", "true")
    said = capsys.readouterr().out
    assert "6 rows, 0 of them cannot be used" in said and "LlavaForConditionalGeneration" in said
    assert not (tmp_path / "out" / "model.safetensors").exists()


@pytest.mark.parametrize("command", ["sft", "grpo"])
def test_a_dry_run_of_bad_rows_ends_in_status_2(command, bad, model, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        train(command, model, bad, tmp_path / "out", "--dry_run", "true")
    said = capsys.readouterr().err.splitlines()
    n = 3 if command == "sft" else 2
    assert exit_.value.code == 2
    assert said[-1] == f"percbal {command}: {n} of 6 rows cannot be used"


def test_an_unknown_policy_is_refused(good, model, tmp_path, capsys):
    with pytest.raises(SystemExit):
        train("sft", model, good, tmp_path / "out", "--on_bad_row", "ignore")
    assert "on_bad_row must be one of ('stop', 'skip'), got 'ignore'" in capsys.readouterr().err
