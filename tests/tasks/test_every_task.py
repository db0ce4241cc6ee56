"""Facts about every task, on many instances: p* reads back, wrong answers are refused, pictures
show the problem, and splits share nothing."""

import json
import random
import re

import pytest
from changes import CASES, OPTIONS, changed_answers, changed_perceptions, changed_problem, disguised

from percbal.tasks import TASKS, get_task
from percbal.tasks.chart_table import symmetry_key as chart_key
from percbal.tasks.coloring_graph import symmetry_key as graph_key
from percbal.tasks.picture_task import FORMS, LEVELS
from percbal.tasks.splits import in_split
from percbal.tasks.sudoku_splits import symmetry_key as sudoku_key

MANY = [150, pytest.param(5_000, marks=pytest.mark.slow)]  # of each of a task's cases
KEYS = {
    "sudoku": lambda puzzle: sudoku_key(puzzle.solution, {16: 4, 36: 6, 81: 9}[len(puzzle.clues)]),
    "coloring": lambda graph: graph_key(graph.edges, graph.vertices),
    "chart": chart_key,
}


def problems(task, n, split="train"):
    return [task.problem(split, random.Random(f"{split} {i}")) for i in range(n)]


def test_every_task_of_the_registry_is_tested():
    assert OPTIONS.keys() == TASKS.keys() == KEYS.keys()


@pytest.mark.parametrize("n", MANY)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name, options", CASES)
def test_the_right_perception_reads_back(name, options, form, n):
    task = get_task(name, form=form, **options)
    for problem in problems(task, n):
        truth = json.loads(json.dumps(task.facts(problem)))
        assert task.perceived(task.write(problem), truth) == task.problem_in(truth)
        assert task.write(problem) == " ".join(task.write(problem).split())


@pytest.mark.parametrize("n", MANY)
@pytest.mark.parametrize("name, options", CASES)
def test_any_part_perceived_wrong_is_a_wrong_perception(name, options, n):
    task = get_task(name, **options)
    for problem in problems(task, n):
        truth = task.facts(problem)
        for text in changed_perceptions(problem, task):
            assert task.perceived(text, truth) != task.problem_in(truth), text


@pytest.mark.parametrize("n", MANY)
@pytest.mark.parametrize("name, options", CASES)
def test_a_changed_answer_is_right_only_where_the_rules_allow_it(name, options, n):
    task = get_task(name, form="paper", **options)
    for problem in problems(task, n):
        truth = task.facts(problem)
        _, answer = task.solve(problem, random.Random(0))
        true = task.problem_in(truth)
        assert task.right(task.said(answer, truth), true, truth) is True
        for text, still in changed_answers(problem, answer, task):
            assert task.right(task.said(text, truth), true, truth) is still, text


@pytest.mark.parametrize("n", MANY)
@pytest.mark.parametrize("name, options", CASES)
def test_the_picture_changes_exactly_when_the_problem_does(name, options, n):
    task = get_task(name, **options)
    for i, problem in enumerate(problems(task, n)):
        other = changed_problem(problem, random.Random(i))
        picture, changed = (task.draw(p, random.Random(i)).tobytes() for p in (problem, other))
        assert picture != changed
        if i < 40:
            assert picture == task.draw(problem, random.Random(i)).tobytes()


@pytest.mark.parametrize("name, options", CASES)
def test_a_problem_in_disguise_stays_in_its_split(name, options):
    key, task = KEYS[name], get_task(name, **options)
    for i, problem in enumerate(problems(task, 60)):
        assert key(disguised(problem, random.Random(i))) == key(problem)
    if options.get("size") == 4:
        return  # whose splits are sets of grids (tests/tasks/test_sudoku.py)
    for split in ("train", "train_sft", "train_rl", "test"):
        assert all(in_split(key(problem), split) for problem in problems(task, 20, split))


def test_the_paper_s_splits_share_nothing_and_make_up_train():
    keys = [str(i) for i in range(1000)]
    shares = {s: {k for k in keys if in_split(k, s)} for s in ("train_sft", "train_rl", "test")}
    assert sum(map(len, shares.values())) == len(set().union(*shares.values())) == 1000
    assert {k for k in keys if in_split(k, "train")} == shares["train_sft"] | shares["train_rl"]


@pytest.mark.parametrize("name, options", CASES)
def test_an_instance_whose_own_response_is_wrong_is_never_given_away(name, options, monkeypatch):
    task = get_task(name, **options)
    solve = task.solve
    monkeypatch.setattr(task, "solve", lambda *args: (solve(*args)[0], "none"))
    with pytest.raises(RuntimeError, match="its own response is wrong"):
        task.generate(0, "train", 0)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("style", ["terse", "plain", "thinking", "mixed"])
@pytest.mark.parametrize("name, options", CASES)
def test_styles_tell_the_same_steps_in_words_of_the_vocabulary(name, options, style, level):
    options = {**options, "level": level, "style": style, "verbosity": 3}
    task, terse = get_task(name, **options), get_task(name, **options | {"style": "terse"})
    vocabulary = {*task.vocabulary()}
    for i, problem in enumerate(problems(task, 3)):
        told = task.solve(problem, random.Random(i))
        assert {*told[0].split()} <= vocabulary
        if style != "mixed":  # which draws the style from the same source of chance
            expected = terse.solve(problem, random.Random(i))
            steps = [re.findall(r"[a-z]?\w*=[\w-]+|\d+(?:\.\d+)?", t[0]) for t in (told, expected)]
            assert steps[0] == steps[1] and told[1] == expected[1]


RANGES = {  # of which options are drawn
    "sudoku": {"size": [4, 6, 9], "blanks": [3, 6, (4, 9)]},
    "coloring": {"vertices": [4, 10, (5, 13), 16], "density": [(0.1, 0.3), (0.4, 0.9)]},
    "chart": {"top": [2, 3, 5, 30, 97], "step": [1, 3, 7, 10], "ticks": [1, 2, 7, 10, 50, 100]}
    | {"rows": [2, (2, 5), 10]},
}
COMMON = {"verbosity": [-1, 0, 1, 2, 3, 3, 3], "style": ["terse", "plain", "thinking", "mixed"]}
COMMON |= {"form": FORMS, "level": LEVELS}


@pytest.mark.parametrize("name", TASKS)
def test_every_word_of_300_responses_over_options_is_in_the_vocabulary(name):
    rng, told = random.Random(name), 0
    while told < 300:
        options = {k: rng.choice(each) for k, each in (RANGES[name] | COMMON).items()}
        try:
            task = get_task(name, **options)
        except ValueError:  # options that do not go together
            continue
        vocabulary = {*task.vocabulary()}
        for problem in problems(task, 3):
            texts = task.query(problem), task.write(problem), *task.solve(problem, rng)
            missing = {*" ".join(texts).split()} - vocabulary
            assert not missing, (options, missing)
            told += 1
