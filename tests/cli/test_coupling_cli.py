"""`percbal coupling`: the files it reads, the rows it refuses, what it prints and writes."""

import json

import pytest
import torch

from percbal.cli.main import main
from percbal_ops.coupling.api import reward_coupling


def call(*arguments):
    """Its exit status."""
    try:
        main(["coupling", *map(str, arguments)])
    except SystemExit as end:
        return end.code
    return 0


def rows(n=240, seed=0):
    g = torch.Generator().manual_seed(seed)
    perception = torch.rand(n, generator=g) < 0.6
    reasoning = torch.rand(n, generator=g) < 0.5
    outcome = perception & reasoning
    return [
        {
            "group": f"prompt {i // 8}",
            "outcome": bool(outcome[i]),
            "perception": float(perception[i]),
            "reasoning": int(reasoning[i]) if i % 9 else None,
            "format": (i * 7 % 5) / 4,
        }
        for i in range(n)
    ]


@pytest.fixture
def jsonl(tmp_path):
    path = tmp_path / "rollouts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    return path


def test_json_holds_the_numbers_of_reward_coupling(jsonl, tmp_path, capsys):
    assert call(jsonl, "--json", tmp_path / "out.json") == 0
    report = json.loads((tmp_path / "out.json").read_text())
    column = {
        k: torch.tensor([float("nan") if r[k] is None else float(r[k]) for r in rows()])
        for k in ("outcome", "perception", "reasoning")
    }
    truth = reward_coupling(
        column["outcome"], column["perception"], column["reasoning"], torch.arange(240) // 8
    )
    assert report["rollouts"] == 240 and report["bad_rows"] == []
    assert report["perception"]["within"]["r"] == pytest.approx([float(truth.perception.within.r)])
    assert report["reasoning"]["pooled"]["count"] == [int(truth.reasoning.pooled.count)]
    printed = capsys.readouterr().out
    assert f"{float(truth.perception.within.r):.3f}" in printed
    assert f"{100 * float(truth.signal.conflict_rate):.1f}%" in printed


def test_rewards_are_ranked_by_their_within_group_correlation(jsonl, capsys):
    assert call(jsonl, "--outcome", "format", "--outcome", "outcome") == 0
    printed = capsys.readouterr().out
    assert printed.index("\noutcome ") < printed.index("\nformat ")


def test_bad_rows_are_counted_and_named_by_file_and_line(jsonl, tmp_path, capsys):
    good = jsonl.read_text().splitlines()
    bad = [
        "{",
        "[1]",
        json.dumps({"group": 1, "outcome": 1}),
        json.dumps({"group": 1, "outcome": "yes", "perception": 1, "reasoning": 1}),
        json.dumps({"group": 1, "outcome": float("inf"), "perception": 1, "reasoning": 1}),
        json.dumps({"outcome": 1, "perception": 1, "reasoning": 1}),
    ]
    jsonl.write_text("\n".join([good[0], *bad, "", *good[1:]]) + "\n")
    assert call(jsonl, "--json", tmp_path / "out.json") == 0
    said = capsys.readouterr().err
    assert "6 bad rows were left out" in said
    for line, reason in enumerate(
        [
            "not JSON",
            "not a JSON object but list",
            "no column 'perception'",
            "outcome must be a number, got 'yes'",
            "outcome must be finite, got inf",
            "no column 'group'",
        ],
        2,
    ):
        assert f"{jsonl}:{line}: {reason}" in said
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["rollouts"] == 240 and len(report["bad_rows"]) == 6


def test_parquet_equals_jsonl(jsonl, tmp_path, capsys):
    table = pytest.importorskip("pyarrow").Table.from_pylist(rows())
    __import__("pyarrow.parquet").parquet.write_table(table, tmp_path / "rollouts.parquet")
    outputs = []
    for path in (jsonl, tmp_path / "rollouts.parquet"):
        assert call(path) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]


def test_a_folder_of_trl_completions_is_grouped_by_step_and_prompt(tmp_path, capsys):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = __import__("pyarrow.parquet").parquet
    folder = tmp_path / "run" / "completions"
    folder.mkdir(parents=True)
    for step in (5, 10):
        part = [
            {
                "step": step,
                "prompt": [{"role": "user", "content": f"puzzle {i // 4}"}],
                "completion": "x",
                "accuracy_reward": float(i % 3 == 0),
                "perception_reward": None if i == 1 else float(i % 2),
                "advantage": 0.0,
            }
            for i in range(16)
        ]
        table = pyarrow.Table.from_pylist(part)
        parquet.write_table(table, folder / f"completions_{step:05d}.parquet")
    options = ("--outcome", "accuracy_reward", "--perception", "perception_reward")
    assert call(tmp_path / "run", *options, "--json", tmp_path / "out.json") == 0
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["signal"]["groups"] == [8]
    assert report["perception"]["pooled"]["count"] == [30]
    assert report["reasoning"] is None


def trl_step(step, images):
    """A file as GRPOTrainer(log_completions=True) writes it: prompts of one text, images stripped,
    an extra column of lists, and more columns than anyone asks for."""
    n, content = 16, [{"type": "image"}, {"type": "text", "text": "Solve it."}]
    table = {
        "step": [step] * n,
        "prompt": [[{"role": "user", "content": content}]] * n,
        "completion": [[{"role": "assistant", "content": "<answer>4</answer>"}]] * n,
        "accuracy_reward": [float(i % 3 == 0) for i in range(n)],
        "perception_reward": [None if i == 1 else float(i % 2) for i in range(n)],
        "boxes": [[[0, 1], [2, 3]]] * n,
        "advantage": [0.0] * n,
    }
    if images:
        table["image"] = [{"bytes": b"\x89PNG", "path": None}] * n
        table["images"] = [[{"bytes": b"\x89PNG", "path": None}]] * n
    return table


@pytest.mark.parametrize("images", [False, True])
def test_rows_of_one_prompt_text_are_grouped_by_the_number_of_generations(tmp_path, capsys, images):
    pandas = pytest.importorskip("pandas")
    (tmp_path / "completions").mkdir()
    for step in (1, 2):
        path = tmp_path / "completions" / f"completions_{step:05d}.parquet"
        pandas.DataFrame(trl_step(step, images)).to_parquet(path)
    options = ["--outcome", "accuracy_reward", "--perception", "perception_reward"]
    for more, groups in (([], 2), (["--group-size", 4], 8)):
        assert call(tmp_path, *options, *more, "--json", tmp_path / "out.json") == 0
        report = json.loads((tmp_path / "out.json").read_text())
        assert report["rollouts"] == 32 and report["bad_rows"] == []
        assert report["signal"]["groups"] == [groups]
        assert report["perception"]["pooled"]["count"] == [30]


def test_a_column_of_lists_is_no_reward(tmp_path, capsys):
    pandas = pytest.importorskip("pandas")
    pandas.DataFrame(trl_step(1, True)).to_parquet(tmp_path / "one.parquet")
    assert call(tmp_path / "one.parquet", "--outcome", "boxes", "--perception", "advantage") == 2
    assert "boxes must be a number, got '[[0, 1], [2, 3]]'" in capsys.readouterr().err
    options = ("--outcome", "advantage", "--perception", "advantage")
    assert call(tmp_path / "one.parquet", *options, "--group-size", 0) == 2
    assert "--group-size must be at least 1, got 0" in capsys.readouterr().err


def test_the_advice_is_printed_and_in_the_json(jsonl, tmp_path, capsys):
    options = ["--outcome", "format", "--outcome", "outcome", "--json", tmp_path / "out.json"]
    assert call(jsonl, *options) == 0
    advice = json.loads((tmp_path / "out.json").read_text())["advice"]
    printed = " ".join(capsys.readouterr().out.split())
    assert advice["outcome"] == "outcome" and advice["reasoning_from"] == "after_right"
    assert 0 < advice["share"] < 1 and advice["margin"] > 0 and advice["mostly_wrong"] < 0.5
    said = [*advice["sentences"], advice["other_rewards"]["format"]]
    assert len(said) >= 4 and all(sentence in printed for sentence in said)
    assert call(jsonl, *options, "--a-r", "0.9") == 0
    assert json.loads((tmp_path / "out.json").read_text())["advice"]["reasoning"] == 0.9
    assert call(jsonl, "--a-r", "1.5") == 2
    assert "--a-r must be between 0 and 1, got 1.5" in capsys.readouterr().err


def test_a_graded_outcome_gets_no_advice_and_the_reason(jsonl, capsys):
    assert call(jsonl, "--outcome", "format") == 0
    assert "must be exact, 0 or 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    "option, out, sentence",
    [
        ("--json", "none/out.json", "--json: there is no directory {}/none"),
        ("--json", "", "--json: {} is a directory"),
        ("--plot", "none/out.png", "--plot: there is no directory {}/none"),
        ("--plot", "out.docx", "--plot: {}/out.docx must end in one of ."),
        ("--plot", "out", "--plot: {}/out must end in one of ."),
    ],
)
def test_what_cannot_be_written_is_said_before_a_file_is_read(
    option, out, sentence, tmp_path, capsys
):
    """There is no file to read here, which would be said otherwise."""
    assert call(tmp_path / "no.jsonl", option, tmp_path / out) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"percbal coupling: {sentence.format(tmp_path)}")
    assert said.count("\n") == 1


@pytest.mark.parametrize("suffix", ["png", "svg", "PNG"])
def test_the_plot_is_drawn(jsonl, tmp_path, suffix):
    pytest.importorskip("matplotlib")
    out = tmp_path / f"plot.{suffix}"
    assert call(jsonl, "--outcome", "outcome", "--outcome", "format", "--plot", out) == 0
    assert out.stat().st_size > 5000


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.jsonl", None, "there is no file"),
        ("rollouts.csv", "a,b", "must end in .jsonl or .parquet, or be a folder"),
        ("empty.jsonl", "", "no usable rollout in 1 files, 0 bad rows"),
        ("broken.parquet", "PAR0", "is not a Parquet file"),
    ],
)
def test_unusable_files_are_one_sentence_and_status_2(tmp_path, capsys, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    assert call(tmp_path / name) == 2
    assert message in capsys.readouterr().err


def test_a_folder_without_completions_is_refused(tmp_path, capsys):
    assert call(tmp_path) == 2
    assert "holds no completions_*.parquet" in capsys.readouterr().err
