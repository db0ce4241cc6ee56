"""Numbers without sense are refused by the name of their option, before anything is made."""

from __future__ import annotations

import pytest

from percbal.cli.main import main

CHECK = ["data", "check", "d.jsonl", "--model", "/nowhere"]
MAKE = ["tasks", "make", "sudoku", "--split", "test=1", "--out", "made"]
TRAIN = ["sft", "--model", "m", "--dataset", "d", "--output_dir", "o", "--use_cpu", "--bf16", "0"]


@pytest.mark.parametrize(
    "words, sentence",
    [
        ([*CHECK, "--max-length", "-5"], "--max-length must be at least 1, got -5"),
        ([*CHECK, "--max-length", "0"], "--max-length must be at least 1, got 0"),
        ([*CHECK, "--workers", "-1"], "--workers must be at least 0, got -1"),
        ([*CHECK, "--show", "-1"], "--show must be at least 0, got -1"),
        (["study", "--preset", "smoke", "--jobs", "-1"], "--jobs must be at least 1, got -1"),
        (["study", "--preset", "smoke", "--minutes", "-1"], "--minutes must be at least 0, got -1"),
        (["study", "--preset", "smoke", "--minutes", "nan"], "--minutes must be at least 0, got n"),
        ([*MAKE, "--workers", "-1"], "--workers must be at least 1, got -1"),
        (["report", "no.json", "--show", "0"], "--show must be at least 1, got 0"),
        (["coupling", "no.jsonl", "--group-size", "0"], "--group-size must be at least 1, got 0"),
        ([*TRAIN, "--max_length", "-5"], "max_length must be at least 1, got -5"),
        ([*TRAIN, "--max_length", "0"], "max_length must be at least 1, got 0"),
        (["diagnose", "/nowhere", "--n", "0"], "--n must be at least 1, got 0"),
    ],
)
def test_a_number_without_sense_is_refused_first(words, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(words)
    said = capsys.readouterr().err
    assert end.value.code == 2 and said.startswith(f"percbal {words[0]}: {sentence}")
    assert said.count("\n") == 1 and not [*tmp_path.iterdir()]
