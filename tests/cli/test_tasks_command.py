"""Facts about `percbal tasks`: contact sheets, data sets of a task, and what a stop leaves."""

from __future__ import annotations

import json
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from pyarrow import parquet

from percbal import read_dataset
from percbal.cli import task_data
from percbal.cli.main import main
from percbal.cli.task_data import make_data_set
from percbal.evaluate import paper_rewards
from percbal.evaluate.paper_rewards import EitherTask
from percbal.evaluate.row_judges import judge_of
from percbal.rewards import from_task
from percbal.tasks import get_task
from percbal.tasks.sheet import WIDTH, _font, _wrapped
from percbal_ops import score_text

FOUR = ["query", "image", "ground_truth", "response"]  # the paper's columns
MINE = """
from percbal.tasks.sudoku import Sudoku

class Mine(Sudoku):
    name = "mine"
"""


def told(text):
    return [[{"role": "assistant", "content": text}]]


@pytest.mark.parametrize("name", ["sudoku", "coloring", "chart"])
def test_a_made_data_set_is_read_and_judged_by_its_own_columns(name, tmp_path, capsys):
    out = tmp_path / "data"
    main(["tasks", "make", name, "--out", str(out), "--split", "train_sft=3,train_rl=2,test=2"])
    assert capsys.readouterr().out == f"{out}\n"
    assert {*(f.name for f in out.iterdir())} == {"README.md", "data", "made_with.json"}
    judge = from_task(get_task(name))
    for split, rows in (("train_sft", 3), ("train_rl", 2), ("test", 2)):
        data = read_dataset(str(out), split, completions=None)
        assert len(data) == rows and ("completion" in data.column_names) is (split == "train_sft")
        for i in range(rows):
            row, instance = data[i], get_task(name).generate(i, split, 0)
            assert row["images"][0].tobytes() == instance.image.tobytes()
            assert row["perception"] == instance.perception and row["answer"] == instance.answer
            assert json.loads(row["truth"]) == json.loads(json.dumps(instance.truth))
            for reward in (judge.outcome, judge.perception):
                assert reward(told(instance.response), truth=[row["truth"]]) == [1]


@pytest.mark.parametrize("form", ["words", "paper"])
@pytest.mark.parametrize(
    "name, options",
    [("sudoku", ["--size", size]) for size in "469"] + [("coloring", []), ("chart", [])],
)
def test_the_paper_s_columns_alone_judge_what_the_task_writes(name, options, form, tmp_path):
    """As rewards and a diagnosis judge, on the data set's four columns and on its conversion."""
    main(
        [
            "tasks",
            "make",
            name,
            *options,
            "--form",
            form,
            "--out",
            str(tmp_path / "data"),
            "--split",
            "train=2",
        ]
    )
    main(["tasks", "--task", name, *_as_options(options), "--export", str(tmp_path), "--n", "2"])
    exported = str(tmp_path / "train.jsonl")
    main(["data", "convert", exported, "--to", "paper", "--out", str(tmp_path / "paper")])
    lines = (tmp_path / "paper" / "train.jsonl").read_text().splitlines()
    texts = [{name: json.loads(line)[name] for name in FOUR if name != "image"} for line in lines]
    (tmp_path / "four.jsonl").write_text("\n".join(map(json.dumps, texts)))
    (file,) = (tmp_path / "data").glob("data/*.parquet")
    parquet.write_table(parquet.read_table(file).select(FOUR), tmp_path / "four.parquet")
    kinds = [str(tmp_path / f"four.{kind}") for kind in ("jsonl", "parquet")]
    rows = [row for path in kinds for row in read_dataset(path, "train", completions=True)]
    assert len(rows) == 4
    for row in rows:
        assert "task" not in row and "answer" not in row
        said = row["completion"][0]["content"]
        judge, truth = judge_of(row)
        score = judge.score(said, truth)
        assert score.answer and score.perception and score.reasoning and score.parsed
        assert judge.difficulty(truth)
        worse = re.sub(r"<answer>.*", "<answer> 9999 </answer>", said)
        assert not judge.score(worse, truth).answer and judge.score(worse, truth).perception
        rewards = [paper_rewards.outcome, paper_rewards.perception]
        assert [reward([said, worse], truth=[row["truth"]] * 2) for reward in rewards] == [
            [1, 0],
            [1, 1],
        ]
        if name != "chart" or "{" in said:  # a grammar knows tables as JSON alone
            assert score_text([said], [row["perception"]], row["grammar"]).exact.item() == 1


def _as_options(short):
    return ["--option", f"size={short[1]}"] if short else []


@pytest.mark.parametrize("name, options", [("sudoku", ["--size", "9"]), ("coloring", [])])
def test_the_paper_s_ground_truth_judges_what_the_task_writes(name, options, tmp_path):
    made = ["tasks", "make", name, *options, "--form", "paper", "--out", str(tmp_path / "data")]
    main([*made, "--split", "train_sft=2"])
    files = sorted((tmp_path / "data").glob("data/*.parquet"))
    from datasets import load_dataset

    for row in load_dataset("parquet", data_files=str(files[0]), split="train"):
        for truth in (row["ground_truth"], row["truth"]):
            score = EitherTask().score(row["response"], json.loads(truth))
            assert score.answer and score.perception and score.reasoning and score.parsed
        if name == "sudoku":
            assert len(row["ground_truth"]) == 261 and row["image"].size == (369, 369)
        else:
            edges = json.loads(row["ground_truth"])["edges"]
            assert len(row["ground_truth"]) == 27 + 8 * len(edges)


def test_the_card_names_splits_options_and_shares(tmp_path):
    make_data_set(get_task("sudoku"), {"train_sft": 2, "test": 1}, tmp_path / "data")
    card = (tmp_path / "data" / "README.md").read_text()
    assert "| `train_sft` | 2 |" in card and "| `test` | 1 |" in card
    assert get_task("sudoku").describe() in card and "of which perception is" in card


class StopsAt:
    """A task that fails at one index, as a killed process would."""

    def __init__(self, index):
        self.task, self.index = get_task("sudoku"), index
        self.name, self.describe, self.grammar = "sudoku", self.task.describe, "grid"
        self.ground_truth = self.task.ground_truth

    def generate(self, index, split, seed):
        if index == self.index:
            raise KeyboardInterrupt
        return self.task.generate(index, split, seed)


def test_a_stop_leaves_nothing_under_the_name_and_the_next_call_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(task_data, "ROWS", 2)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    make_data_set(get_task("sudoku"), {"train": 5}, whole, workers=1)
    with pytest.raises(KeyboardInterrupt):
        make_data_set(StopsAt(3), {"train": 5}, stopped, workers=1)
    assert not stopped.exists()
    kept = [*(tmp_path / "stopped.partial" / "data").iterdir()]
    assert [file.name for file in kept] == ["train-00000-of-00003.parquet"]
    before = kept[0].stat().st_mtime_ns
    make_data_set(get_task("sudoku"), {"train": 5}, stopped, workers=1)
    assert (stopped / "data" / kept[0].name).stat().st_mtime_ns == before
    assert not (tmp_path / "stopped.partial").exists()
    for file in (whole / "data").iterdir():
        assert file.read_bytes() == (stopped / "data" / file.name).read_bytes()
    make_data_set(StopsAt(0), {"train": 5}, stopped, workers=1)  # nothing is made again
    with pytest.raises(ValueError, match="holds another data set .* choose a new directory"):
        make_data_set(get_task("sudoku"), {"train": 6}, stopped)


def test_processes_make_the_same_rows(tmp_path, monkeypatch):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, workers in ((one, 1), (two, 2)):
        make_data_set(get_task("sudoku"), {"train": 501}, folder, workers=workers)
    files = sorted(file.name for file in (one / "data").iterdir())
    assert len(files) == 2
    assert all((one / "data" / f).read_bytes() == (two / "data" / f).read_bytes() for f in files)


def test_a_full_disk_is_one_sentence_and_costs_nothing_that_was_whole(tmp_path):
    """The limit on the size of a file fails a write as a full disk does."""
    out = tmp_path / "data"
    arguments = ["tasks", "make", "sudoku", "--split", "train=30", "--out", str(out)]

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    ran = subprocess.run(
        [sys.executable, "-m", "percbal", *arguments],
        capture_output=True,
        text=True,
        preexec_fn=limit,
    )
    said = ran.stderr.strip().splitlines()[-1]
    assert ran.returncode == 2 and said.startswith("percbal tasks: cannot write"), ran.stderr
    assert "Traceback" not in ran.stderr and not out.exists()
    assert not [*(tmp_path / "data.partial" / "data").iterdir()]
    main(arguments)
    assert len(read_dataset(str(out), "train")) == 30


@pytest.mark.parametrize(
    "to, file", [("trl", "jsonl"), ("llama-factory", "jsonl"), ("verl", "parquet")]
)
def test_exports_are_those_of_data_convert(to, file, tmp_path):
    out = tmp_path / "data"
    made = ["tasks", "make", "coloring", "--split", "train_sft=2,test=2", "--out", str(out)]
    main([*made, "--export", to])
    for split, completions in (("train_sft", True), ("test", None)):
        path = tmp_path / f"data-{to}" / f"{split}.{file}"
        assert len(read_dataset(str(path), completions=completions)) == 2


@pytest.mark.parametrize("to", ["trl", "verl"])
def test_an_export_of_another_seed_is_not_taken_for_this_one(to, tmp_path, capsys):
    out = tmp_path / "data"
    made = ["tasks", "make", "coloring", "--split", "test=2", "--out", str(out), "--export", to]
    main([*made, "--seed", "1"])
    shutil.rmtree(out)
    main([*made, "--seed", "1"])  # the same rows: it is left as it is
    shutil.rmtree(out)
    with pytest.raises(SystemExit) as exit_:
        main([*made, "--seed", "2"])
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert exit_.value.code == 2
    assert f"{out}-{to} was made of other rows from {out}" in said and f"remove {out}-{to}" in said


def test_show_draws_pictures_as_wide_as_their_texts(tmp_path, capsys):
    main(["tasks", "show", "coloring", "--n", "2", "--out", str(tmp_path / "two.png")])
    main(["tasks", "show", "sudoku", "--size", "6", "--n", "5", "--out", str(tmp_path / "5.png")])
    assert capsys.readouterr().out.splitlines()[0] == str(tmp_path / "two.png")
    two, five = Image.open(tmp_path / "two.png"), Image.open(tmp_path / "5.png")
    assert two.width < five.width and two.height < five.height
    dark = two.convert("L").point(lambda grey: 255 * (grey < 250)).getbbox()
    assert dark[0] < 0.1 * two.width and dark[2] > 0.8 * two.width and dark[3] > 0.9 * two.height


def test_texts_of_a_sheet_are_as_wide_as_its_pictures():
    words = "[[2, 6, 1] wide " * 60
    lines = _wrapped(words)
    widths = [_font().getlength(line) for line in lines]
    assert max(widths) <= WIDTH and min(widths[:-1]) > 0.85 * WIDTH
    assert " ".join(lines) == words.strip()
    assert "".join(_wrapped("W" * 500)) == "W" * 500 and len(_wrapped("W" * 500)) > 10


def test_a_task_of_a_user_s_own_goes_by_its_path(tmp_path, monkeypatch, capsys):
    (tmp_path / "my_tasks.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    main(["tasks", "show", "my_tasks:Mine", "--n", "1"])
    assert Path("Mine.png").stat().st_size > 0
    main(["tasks", "make", "my_tasks:Mine", "--split", "test=1", "--out", "data"])
    assert read_dataset("data", "test", completions=None)[0]["task"] == "mine"


LOOSE = """
from percbal.tasks.sudoku import Sudoku

class Loose(Sudoku):
    def __init__(self, shade=0, name=""):  # without types
        super().__init__(size=4)
        self.shade, self.title = 2 * shade - 1, name

    def generate(self, index, split, seed):
        self.title.upper()
        return super().generate(index + self.shade, split, seed)

class Failing(Loose):
    def generate(self, index, split, seed):
        return None.upper()
"""
WAYS = {
    "show": ["show", "loose_tasks:{}", "--out", "x.png"],
    "make": ["make", "loose_tasks:{}", "--split", "test=1", "--out", "x"],
    "--preview": ["--task", "loose_tasks:{}", "--preview", "x.png"],
    "--export": ["--task", "loose_tasks:{}", "--export", "x"],
}


@pytest.fixture
def loose(tmp_path, monkeypatch):
    (tmp_path / "loose_tasks.py").write_text(LOOSE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("way", WAYS)
def test_options_without_types_are_tried_first(way, loose, capsys):
    words = [word.format("Loose") for word in WAYS[way]]
    for option in ("shade=x", "name=3"):
        with pytest.raises(SystemExit) as exit_:
            main(["tasks", *words, "--option", option])
        said = capsys.readouterr().err
        assert exit_.value.code == 2 and said.count("\n") == 1
        assert said.startswith("percbal tasks: --option: a value has the wrong type (")
    main(["tasks", *words, "--option", "shade=1", "--option", "name=mine"])


@pytest.mark.parametrize("way", WAYS)
def test_a_task_that_fails_without_options_keeps_its_traceback(way, loose):
    with pytest.raises(AttributeError, match="upper"):
        main(["tasks", *(word.format("Failing") for word in WAYS[way])])


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["show", "sudoku", "--option", "name=3"], "task 'sudoku' has no option 'name'; its opt"),
        pytest.param(
            ["show", "sudoku", "--option", f"size={'[' * 100_000}"],
            "option size of sudoku must be a whole number, got '[[",
            id="deep",
        ),
        (["show", "suduko"], "known tasks: chart, coloring, sudoku, or module:Class"),
        (["show", "no.such:Task"], "no.such:Task: No module named 'no'; Python looks in PYTHON"),
        (["show", "json:loads"], "json:loads is no task: it has no generate"),
        (["show", "sudoku", "--option", "size=x"], "option size of sudoku must be a whole number"),
        (
            ["show", "sudoku", "--size", "x"],
            "option size of sudoku must be a whole number, got 'x'",
        ),
        (["show", "sudoku", "--option", "blanks=true"], "must be 2 numbers or a whole number"),
        (["show", "chart", "--option", "grid=1"], "option grid of chart must be true or false"),
        (["show", "chart", "--size", "4"], "task 'chart' has no option 'size'; its options: level"),
        (["show", "sudoku", "--level", "x"], "level must be one of easy, medium, hard, got 'x'"),
        (["show", "sudoku", "--n", "0"], "instances must be 1 or more, got 0"),
        (["make", "sudoku", "--split", "dev=3", "--out", "x"], "the split of a task is one of"),
        (["make", "sudoku", "--split", "train", "--out", "x"], "--split takes NAME=ROWS"),
        (["make", "sudoku", "--split", "test=1,test=2", "--out", "x"], "each name once"),
        (["make", "sudoku", "--split", "test=1", "--out", "/dev/null"], "is there already"),
        (["make", "sudoku", "--split", "test=1", "--out", "/proc/x"], "cannot write to directory"),
    ],
)
def test_mistakes_get_one_sentence_and_exit_status_2(arguments, sentence, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["tasks", *arguments])
    assert exit_.value.code == 2
    said = capsys.readouterr().err.strip()
    assert sentence in said and said.count("\n") == 0
