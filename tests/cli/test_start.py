"""How soon `percbal` says something: what its help loads, and what it keeps of TRL's."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from percbal.cli import kept_help
from percbal.cli.help import OTHERS, help_text
from percbal.cli.main import COMMANDS, TRAINERS

HEAVY = ("torch", "transformers", "trl", "datasets", "pyarrow", "matplotlib", "numpy", "PIL")
OPTIONS = {"data": [["dataset", "A file."]], OTHERS: [["seed", "Of all."], ["lr", "A rate."]]}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def loaded(*arguments):
    """What a process of its own that says its help has loaded."""
    program = (
        "import sys; from percbal.cli import main\n"
        "try: main(sys.argv[1:])\n"
        f"except SystemExit: print('loaded', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    run = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    return done.stdout.rpartition("loaded ")[2].strip()


@pytest.mark.parametrize("command", [None, *sorted({*COMMANDS} - {*TRAINERS})])
def test_the_help_of_no_command_loads_a_library_of_seconds(command):
    assert loaded(*([command] if command else []), "--help") == "[]"


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """Kept for two trainers, of one source file."""
    file = tmp_path / "config.py"
    file.write_text("a")
    os.utime(file, ns=(1, 1))
    monkeypatch.setattr(kept_help, "_files", lambda: [str(file)])
    for command in TRAINERS:
        kept_help.keep_help(command, OPTIONS)
    return file


@pytest.mark.parametrize("option", ["--help", "-h", "--help-all"])
def test_what_is_kept_is_said_in_the_same_words(sources, option):
    everything = option == "--help-all"
    same = help_text("sft", OPTIONS, everything=everything)
    assert kept_help.kept_help("sft", ["--model", "x", option]) == same
    assert kept_help.kept_help("sft", ["--model", "x"]) is None


@pytest.mark.parametrize("command", TRAINERS)
def test_a_kept_help_is_said_without_trl(sources, command, cache):
    assert loaded(command, "--help") == "[]"


def longer(source, kept):
    source.write_text("ab")


def touched(source, kept):
    os.utime(source, ns=(0, 0))


def gone(source, kept):
    source.unlink()


def cut(source, kept):
    kept.write_bytes(kept.read_bytes()[:-9])


def of_another_shape(source, kept):
    kept.write_text(json.dumps({"files": {}, "options": [1]}))


@pytest.mark.parametrize("change", [longer, touched, gone, cut, of_another_shape])
def test_what_is_kept_counts_only_whole_and_while_its_sources_are_as_they_were(
    sources, cache, change
):
    (kept,) = (cache / "percbal").glob("help-sft-*.json")
    change(sources, kept)
    assert kept_help.kept_help("sft", ["--help"]) is None


def test_nothing_is_kept_of_a_source_that_changed_after_the_start(sources, cache):
    for kept in (cache / "percbal").iterdir():
        kept.unlink()
    sources.write_text("b")
    kept_help.keep_help("sft", OPTIONS)
    assert not [*(cache / "percbal").iterdir()]


def test_an_environment_with_another_trl_keeps_its_own(sources, monkeypatch):
    monkeypatch.setattr(kept_help, "SOURCES", ("percbal", "json"))
    assert kept_help.kept_help("sft", ["--help"]) is None


def test_a_home_that_cannot_be_written_costs_nothing_but_time(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    kept_help.keep_help("sft", OPTIONS)
    assert kept_help.kept_help("sft", ["--help"]) is None


def test_the_files_that_are_watched_are_those_of_the_classes():
    import transformers.training_args
    import trl.trainer.sft_config

    import percbal.sft.config

    for module in (transformers.training_args, trl.trainer.sft_config, percbal.sft.config):
        assert module.__file__ in {*kept_help._files()}
    assert any(path.endswith("torch/version.py") for path in kept_help._files())
