"""`percbal sft` and `grpo` on data sets with faults: one sentence with the row, exit status 2."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from percbal.cli.main import main
from percbal.models.tiny import build_tiny_vlm
from percbal.tasks import get_task
from percbal.tasks.preview import export_jsonl

SIZES = {"hidden": 16, "layers": 1, "heads": 2, "mlp": 32}
GRPO = ["--num_generations", "2", "--max_completion_length", "4"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build_tiny_vlm(
        tmp_path_factory.mktemp("model"), get_task("sudoku").vocabulary(), **SIZES
    )


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data").mkdir()
    return export_jsonl(get_task("sudoku"), "train", 4, tmp_path / "data")


def run(command, model, data, out, *options):
    arguments = ["--model", model, "--dataset", data, "--output_dir", out, "--max_steps", "2"]
    arguments += ["--per_device_train_batch_size", "2", "--use_cpu", "--bf16", "false"]
    arguments += ["--report_to", "none", "--save_strategy", "no", "--disable_tqdm", "true"]
    main([command, *map(str, arguments), *(GRPO if command == "grpo" else []), *options])


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as exit_:
        run(*arguments)
    assert exit_.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def replace_image(data, line, path):
    rows = [json.loads(text) for text in data.read_text().splitlines()]
    rows[line - 1]["images"] = [str(path)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("command", ["sft", "grpo"])
def test_a_damaged_picture_is_named_whenever_the_run_comes_to_it(
    command, model, data, tmp_path, capsys
):
    """Its head is whole, so that it is found when it is decoded; a resume says it again."""
    path = data.parent / "images" / "train-000002.png"
    Image.effect_noise((90, 90), 99).convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[:9000])
    for _ in range(2):
        said = refused(capsys, command, model, data, tmp_path / "out")
        assert said.startswith(f"percbal {command}: {data}:3: images/train-000002.png is damaged")


@pytest.mark.parametrize("command", ["sft", "grpo"])
def test_pictures_stay_in_their_folder_and_below_the_limit(command, model, data, tmp_path, capsys):
    Image.new("RGB", (64, 64)).save(tmp_path / "secret.png")
    replace_image(data, 2, "../secret.png")
    said = refused(capsys, command, model, data, tmp_path / "out")
    assert said.startswith(f"percbal {command}: {data}:2: ../secret.png leaves the folder")
    run(command, model, data, tmp_path / "out", "--images_within", str(tmp_path))
    replace_image(data, 2, "images/train-000000.png")
    size = Image.open(data.parent / "images" / "train-000000.png").size
    limit = ["--max_image_pixels", str(size[0] * size[1] - 1)]
    said = refused(capsys, command, model, data, tmp_path / "out", *limit)
    assert f"{data}:1: images/train-000000.png has {size[0]} x {size[1]} pixels, more than" in said


@pytest.mark.parametrize("command", ["sft", "grpo"])
@pytest.mark.parametrize(
    "content, sentence",
    [
        (b"model: x\nlam: [1,\n", "config.yaml:3 is no YAML: "),
        (b"lam: 1\n\tb: 2\n", "config.yaml:2 is no YAML: found character"),
        (b"\x00\x01", "config.yaml is no YAML: "),
        (b"lam: \xff\n", "config.yaml is no YAML: "),
        (b"", "config.yaml must hold options, each as name: value, it holds None"),
        (b"- lam\n", "config.yaml must hold options, each as name: value, it holds ['lam']"),
        (b"[" * 5000, "config.yaml is no YAML: "),
        (None, "No such file or directory"),
    ],
)
def test_a_config_that_is_none_is_one_sentence(command, content, sentence, tmp_path, capsys):
    path = tmp_path / "config.yaml"
    if content is not None:
        path.write_bytes(content)
    for given in (["--config", str(path)], [f"--config={path}"]):
        with pytest.raises(SystemExit) as exit_:
            main([command, *given])
        said = capsys.readouterr().err
        assert exit_.value.code == 2 and sentence in said and said.count("\n") == 1


def test_rows_without_lengths_are_not_grouped_by_them(data, tmp_path, capsys):
    """Said before a model is loaded: there is none here."""
    grouped = ["--train_sampling_strategy", "group_by_length"]
    said = refused(capsys, "sft", tmp_path / "no model", data, tmp_path / "out", *grouped)
    assert said.startswith("percbal sft: train_sampling_strategy='group_by_length' needs the")
    assert "percbal.encode_examples" in said and "set it to random" in said


def test_a_damaged_export_is_named(data, capsys):
    (data.parent / "train.meta.json").write_text("{")
    with pytest.raises(SystemExit) as exit_:
        main(["tasks", "--export", str(data.parent), "--n", "4"])
    assert exit_.value.code == 2 and "train.meta.json cannot be read" in capsys.readouterr().err
