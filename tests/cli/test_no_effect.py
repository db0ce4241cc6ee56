"""An option is refused where it would change nothing, and nowhere else."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from refused_command import refused

from percbal.cli.diagnose_ways import AXES, HAS_EFFECT, WHO, check_ways
from percbal.cli.main import _parser, main

ASKING = {
    "a model here": ["m"],
    "--endpoint": ["--endpoint", "http://host/v1", "--model", "m"],
    "--completions": ["--completions", "c.jsonl"],
    "--write-prompts": ["--write-prompts", "p.jsonl"],
    "--compare": ["--compare", "a.json", "b.json"],
}
ABOUT = {"a task": [], "--dataset": ["--dataset", "d.jsonl"]}
VALUES = {  # where a 2 is none, or the default
    "option": ["size=4"],
    "attention": ["eager"],
    "told": ["text"],
    "on_bad_row": ["skip"],
    "ways": ["image", "told"],
    "perception_tags": ["<see>", "</see>"],
    "exact": [],
    "state_format": [],
}


def options_of(command, part=None):
    """Option -> what is typed, of every option of a command or of its part."""
    (commands,) = (
        a for a in _parser([command])._actions if isinstance(a, argparse._SubParsersAction)
    )
    parser = commands.choices[command]
    if part is not None:
        (parts,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
        parser = parts.choices[part]
    typed = {a.dest: a.option_strings[-1:] for a in parser._actions}
    return {name: flag for name, flag in typed.items() if name not in ("help", "part")}


def test_the_table_has_every_option_of_the_command_and_no_other():
    assert {*options_of("diagnose")} == {*HAS_EFFECT}
    ways = {way for axis in AXES for way in axis}
    for name, where in HAS_EFFECT.items():
        assert {*where} <= ways and all({*where} & {*axis} for axis in AXES), name


OPTIONS = {name: flag for name, flag in options_of("diagnose").items() if name not in WHO}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("about", ABOUT)
@pytest.mark.parametrize("asking", ASKING)
def test_an_option_is_refused_just_where_the_table_says_so(asking, about, name):
    given = [] if name == "dataset" else ABOUT[about]
    words = [*ASKING[asking], *given, *OPTIONS[name], *VALUES.get(name, ["2"])]
    args = _parser(["diagnose"]).parse_args(["diagnose", *words])
    about = "--dataset" if args.dataset else "a task"
    lacking = [way for way in (asking, about) if way not in HAS_EFFECT[name]]
    if asking == "--compare" and args.dataset:
        lacking = lacking or ["--compare"]
    if not lacking:
        check_ways(args)
        return
    with pytest.raises(ValueError, match=" has no effect with ") as problem:
        check_ways(args)
    said = str(problem.value)
    assert said.startswith("--") and any(f" with {way}; it is for " in said for way in lacking)


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--completions", "c", "--dataset", "d", "--task", "coloring"], "--task coloring has no"),
        (["m", "--dataset", "d", "--level", "easy"], "--level easy has no effect with --dataset"),
        (["m", "--told", "text"], "--told text has no effect with a model here; it is for --endp"),
        (["m", "--body", "nonsense"], "--body nonsense has no effect with a model here"),
        (["m", "--timeout", "-1"], "--timeout -1.0 has no effect with a model here"),
        (
            ["m", "--images-within", "x"],
            "--images-within x has no effect with a task; it is for --",
        ),
        ([*ASKING["--endpoint"], "--dtype", "bfloat17"], "--dtype bfloat17 has no effect with --e"),
        (
            [*ASKING["--endpoint"], "--exact"],
            "--exact has no effect with --endpoint; it is for a m",
        ),
        (["--completions", "c", "--temperature", "0.7"], "--temperature 0.7 has no effect with --"),
        (["--completions", "c", "--max-new-tokens", "5"], "--max-new-tokens 5 has no effect with"),
        (["--write-prompts", "p", "--out", "o"], "--out o has no effect with --write-prompts"),
        (["--compare", "a", "b", "--task", "coloring"], "--task coloring has no effect with --com"),
        (["--compare", "a", "b", "--n", "4"], "--n 4 has no effect with --compare; it is for a m"),
    ],
)
def test_a_diagnosis_says_which_option_changes_nothing_and_why(words, sentence, capsys):
    assert refused(capsys, "diagnose", *words).startswith(f"percbal diagnose: {sentence}")


def test_what_is_given_as_it_is_by_default_is_no_mistake(capsys):
    said = refused(
        capsys, "diagnose", "--completions", "none", "--samples", "1", "--told", "prefix"
    )
    assert "there is no file none" in said


@pytest.mark.parametrize(
    "option, value",
    [
        ("--tag-tokens", ["other"]),
        ("--segments", ["perception,reasoning"]),
        ("--max-length", ["9"]),
        ("--perception-tags", ["<see>", "</see>"]),
        ("--response-format", ["json"]),
    ],
)
def test_a_check_for_grpo_refuses_what_is_of_responses(option, value, capsys):
    said = refused(
        capsys, "data", "check", "d.jsonl", "--model", "m", "--command", "grpo", option, *value
    )
    assert f"{option} {' '.join(value)} has no effect with --command grpo" in said


def test_a_check_for_grpo_takes_the_format_that_its_prompts_state(capsys):
    words = ["--command", "grpo", "--response-format", "json", "--state-format"]
    said = refused(capsys, "data", "check", "d.jsonl", "--model", "/nowhere", *words)
    assert "has no effect" not in said


def test_a_split_of_one_file_is_refused_where_nothing_is_named_by_it(capsys):
    said = refused(capsys, "data", "check", "d.jsonl", "--model", "m", "--split", "dev")
    assert "--split dev has no effect with d.jsonl, which is one file" in said


LISTED = {n: f for n, f in options_of("tasks").items() if n not in ("preview", "export")}


@pytest.mark.parametrize("name", LISTED)
def test_a_list_of_the_tasks_takes_no_option(name, capsys):
    said = refused(capsys, "tasks", *LISTED[name], *VALUES.get(name, ["2"]))
    assert f"{LISTED[name][0]} " in said and "has no effect without --preview or --export" in said


PAGE = {n: f for n, f in options_of("study").items() if n != "page"}


@pytest.mark.parametrize("name", PAGE)
def test_a_page_of_studies_takes_no_option_of_a_run(name, capsys):
    value = {"preset": "smoke", "only": "tuning"}.get(name, "2")
    said = refused(capsys, "study", "--page", "docs", *PAGE[name], value)
    assert f"{PAGE[name][0]} " in said and "has no effect with --page" in said


def test_a_study_that_tunes_no_rates_is_not_asked_for_them(capsys):
    said = refused(capsys, "study", "--preset", "smoke", "--only", "tuning")
    assert "--only tuning has no effect with --preset smoke, which tunes no rates" in said


def test_a_registration_that_is_not_there_is_missed(capsys, tmp_path):
    words = ["--preset", "smoke", "--out", tmp_path, "--registration", tmp_path / "none.yaml"]
    assert "what is expected must be said before a run" in refused(capsys, "study", *words)


@pytest.mark.parametrize(
    "option", ["--state-format", "--format-examples", "--chat-template-kwargs"]
)
def test_coupling_has_no_option_of_prompts(option, capsys):
    """It reads completions and asks nobody."""
    with pytest.raises(SystemExit) as end:
        main(["coupling", "x.jsonl", option, *([] if option == "--state-format" else ["{}"])])
    said = capsys.readouterr().err
    assert end.value.code == 2 and f"unrecognized arguments: {option}" in said


def test_a_diagnosis_while_training_names_a_task_or_a_data_set(capsys):
    words = ["--model", "/nowhere", "--dataset", "d", "--output_dir", "o", "--use_cpu"]
    words += ["--bf16", "false", "--diagnose_every", "1", "--diagnose_dataset", "d"]
    with pytest.raises(SystemExit) as end:
        main(["sft", *words, "--diagnose_task", "coloring"])
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert end.value.code == 2
    assert "diagnose_task coloring names a task; with diagnose_dataset there is none" in said
    assert not Path("o").exists()
