"""Facts about the command line: what a user types, from an export to a diagnosis, and mistakes."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from percbal.cli.main import COMMANDS, _parser, main
from percbal.models.tiny import build_tiny_vlm
from percbal.tasks import get_task

SIZES = {"hidden": 16, "layers": 1, "heads": 2, "mlp": 32}


def test_command_line_exports_trains_and_diagnoses(tmp_path, capsys):
    initial = tmp_path / "initial"
    build_tiny_vlm(initial, get_task("sudoku").vocabulary(), **SIZES)
    main(["tasks", "--export", str(tmp_path / "data"), "--n", "8"])
    main(["tasks", "--preview", str(tmp_path / "sheet.png"), "--n", "2"])
    (tmp_path / "sft.yaml").write_text(
        f"model: {initial}\ndataset: {tmp_path}/data/train.jsonl\noutput_dir: {tmp_path}/out\n"
        "balance: fixed\nlam: 0.3\nmax_steps: 2\nper_device_train_batch_size: 4\nuse_cpu: true\n"
        "bf16: false\nreport_to: none\nsave_strategy: 'no'\n"
    )
    main(["sft", "--config", str(tmp_path / "sft.yaml"), "--logging_steps", "1"])
    out = tmp_path / "diagnosis.json"
    main(["diagnose", str(tmp_path / "out"), "--n", "2", "--out", str(out)])
    assert (tmp_path / "sheet.png").stat().st_size > 0
    assert len(json.loads(out.read_text())["records"]) == 2
    assert "a_p" in capsys.readouterr().out
    adapted = str(tmp_path / "adapted")
    changed = ["--output_dir", adapted, "--lora_r", "2", "--lora_target", "q_proj"]
    main(["sft", "--config", str(tmp_path / "sft.yaml"), *changed])
    main(["diagnose", adapted, "--n", "2"])
    assert not (tmp_path / "adapted" / "model.safetensors").exists()


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["diagnose", "/nowhere"], "/nowhere is not a directory"),
        (["diagnose", ".", "--dtype", "bf16"], "float16, got 'bf16'"),
        (["diagnose", "/nowhere", "--option", "size"], "--option takes NAME=VALUE, got 'size'"),
        (["tasks", "--task", "chess", "--preview", "x.png"], "unknown task 'chess'"),
        (
            ["tasks", "--option", "size=5", "--preview", "x.png"],
            "size must be one of 4, 6, 9",
        ),
        (
            ["sft", "--model", "x", "--dataset", "/no/such.jsonl", "--output_dir", "x"]
            + ["--use_cpu", "--bf16", "false"],
            "there is no file /no/such.jsonl",
        ),
    ],
)
def test_mistakes_get_one_sentence_and_exit_status_2(arguments, sentence, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("command", ["sft", "grpo"])
def test_a_run_that_begins_anew_does_not_lie_beside_another_ones_checkpoints(
    command, tmp_path, capsys
):
    """The next run would go on from those, whose numbers are larger."""
    (tmp_path / "checkpoint-900").mkdir()
    (tmp_path / "checkpoint-20").mkdir()
    given = ["--model", "x", "--dataset", "/no/such.jsonl", "--output_dir", str(tmp_path)]
    with pytest.raises(SystemExit) as exit_:
        main([command, *given, "--use_cpu", "--bf16", "false", "--resume", "false"])
    assert exit_.value.code == 2
    said = capsys.readouterr().err
    assert f"resume: false begins a run of its own, and {tmp_path} has checkpoint-900" in said


def test_help_names_every_command():
    done = subprocess.run(
        [sys.executable, "-m", "percbal", "--help"], capture_output=True, text=True
    )
    assert all(command in done.stdout for command in ("study", "sft", "diagnose", "tasks"))


FAILS = """
from percbal.cli import diagnose
from percbal.cli.main import main

def fails(args):
    {body}

diagnose.run = fails
main(["diagnose", "somewhere"])
"""


def run_failing(body):
    program = FAILS.format(body=body)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "body, kind",
    [
        ("import torch; torch.ones(2) @ torch.ones(3)", "RuntimeError: "),
        ("raise NotImplementedError('later')", "NotImplementedError: later"),
        ("{}['pixel_values']", "KeyError: 'pixel_values'"),
    ],
)
def test_what_is_no_mistake_of_the_user_keeps_its_type_and_traceback(body, kind):
    status, said = run_failing(body)
    assert status == 1 and kind in said.splitlines()[-1]
    assert "Traceback" in said and "in fails" in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_recognised():
    """torch says "unexpected pos 64 vs 0", of a file that it does not name."""
    body = "import torch; torch.save(torch.ones(99999), '/dev/full')"
    status, said = run_failing(body)
    assert status == 1 and "is the disk full?" in said and "Traceback" in said
    status, said = run_failing("open('/dev/full', 'w').write('x' * 99999)")
    assert (status, said) == (2, "percbal diagnose: [Errno 28] No space left on device\n")


def test_an_error_of_our_own_is_a_sentence():
    body = (
        "from percbal.rewards import EndpointReanswer as E; text = '<perception>a</perception>'; "
    )
    body += "E('http://127.0.0.1:9/v1', 'm')([text], ['?'], answer=['1'])"
    status, said = run_failing(body)
    assert status == 2 and said.startswith("percbal diagnose: all 1 requests to")
    assert said.count("\n") == 1


WHOLE = {"show": ["sudoku"], "make": ["sudoku", "--split", "test=1", "--out", "never"]}


def _parts():
    """(command, one of its own options, a part of it)."""
    for name in COMMANDS:
        actions = _parser([name])._actions
        (commands,) = (a for a in actions if isinstance(a, argparse._SubParsersAction))
        parser = commands.choices[name]
        for parts in parser._actions:
            if isinstance(parts, argparse._SubParsersAction):
                assert parts.dest == "part"  # by which `main` knows them
                own = [a.option_strings[-1] for a in parser._actions if a.option_strings]
                yield from ((name, o, part) for o in own if o != "--help" for part in parts.choices)


@pytest.mark.parametrize("command, option, part", [*_parts()])
def test_an_option_before_the_name_of_a_part_is_refused(command, option, part, capsys):
    """Where the part's own option, or nothing at all, would take its place."""
    with pytest.raises(SystemExit) as exit_:
        main([command, option, "5", part, *WHOLE[part]])
    said = capsys.readouterr().err
    assert exit_.value.code == 2
    assert said == (
        f"percbal {command}: options of {part} stand after its name, got {option} before it\n"
    )
