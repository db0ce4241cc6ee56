"""The command ``percbal diagnose`` on a checkpoint of each family, from the model to the page."""

from __future__ import annotations

import json

from zoo import EACH

from percbal.cli.main import main

N = 3


@EACH
def test_the_command_diagnoses(family, checkpoint, tmp_path, capsys):
    """An untrained model writes nothing readable; every way of asking it, and p*'s probability, is
    there all the same, and its pictures are on the page."""
    result, page = tmp_path / "result.json", tmp_path / "page.html"
    arguments = [checkpoint, "--task", "sudoku", "--n", N, "--max-new-tokens", 8, "--exact"]
    main(["diagnose", *map(str, [*arguments, "--out", result, "--report", page])])
    data = json.loads(result.read_text())
    assert data["accuracies"]["a_p_exact"]["n"] == data["accuracies"]["a_r_text"]["n"] == N
    assert sum(data["errors"].values()) == N == data["errors"]["format"]
    for record in data["records"]:
        # some templates put thoughts, or a space, before it
        assert f"<perception> {record['perception']} </perception>" in record["reasoned"]
        assert 0 <= record["a_p_exact"] < 1e-6
        assert isinstance(record["text_completion"], str)
    text = page.read_text()
    assert "<h1>It fails in the format.</h1>" in text or "cannot be told" in text
    assert text.count("<img src=") == N
    assert f"n = {N}, {N} unreadable" in capsys.readouterr().out
