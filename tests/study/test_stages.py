"""Facts about how a training of a study ends, also one of two stages or one that goes on."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from percbal.study import training
from percbal.study.competence import Stopped
from percbal.study.evidence import PERCEPTION_FIRST, TOKEN_MEAN
from percbal.study.json_files import read_json, write_json
from percbal.study.plan import SFT
from percbal.study.recipes import hashed
from percbal.study.training import (
    DIVERGED,
    DONE,
    FIRST,
    SPENT,
    Floor,
    Progress,
    fine_tune,
    sft_options,
)


@pytest.fixture
def made(monkeypatch):
    """Directories that were trained in; the endings to come are those of ``made.ends``."""
    found = SimpleNamespace(directories=[], ends=[])

    def trainer(model, config, **options):
        history = [{"step": config.max_steps, "steps": config.max_steps}]
        return SimpleNamespace(state=SimpleNamespace(log_history=history, global_step=17))

    def train(trainer, out):
        found.directories.append(out.name)
        return found.ends.pop(0)

    monkeypatch.setattr(training, "BalancedSFTTrainer", trainer)
    monkeypatch.setattr(training, "_train", train)
    return found


def test_a_divergence_of_the_first_stage_ends_the_training(tmp_path, made):
    made.ends = [DIVERGED]
    trained = fine_tune(None, None, None, SFT(100), PERCEPTION_FIRST, 1, tmp_path)
    assert made.directories == [FIRST] and trained.status == DIVERGED
    assert trained.history == [{"step": 30, "steps": 30}]


def test_what_diverged_is_no_start(tmp_path, made):
    """Also where no stop rule was asked for, or it had measured something before."""
    made.ends = [DIVERGED]
    trained = fine_tune(None, None, None, SFT(100), TOKEN_MEAN, 1, tmp_path)
    assert not trained.outcome.reached and trained.outcome.verdict == "diverged after 17 steps"


def test_the_history_and_the_time_are_of_both_stages(tmp_path, made):
    made.ends = [DONE, DIVERGED]
    for folder, seconds in (("", 100.0), (FIRST, 10.0)):
        write_json(tmp_path / folder / SPENT, {"seconds": seconds, "kinds": [["another"]]})
    trained = fine_tune(None, None, None, SFT(100), PERCEPTION_FIRST, 1, tmp_path)
    assert trained.history == [{"step": 30, "steps": 30}, {"step": 100, "steps": 70}]
    assert trained.status == DIVERGED
    assert 110 < trained.seconds < 120 and trained.kinds[0] == ["another"]
    assert len(trained.kinds) == 2, "each kind of machine once"


def test_seconds_are_kept_while_a_training_works(tmp_path):
    Progress(tmp_path).on_step_end(None, SimpleNamespace(global_step=1, max_steps=2), None)
    assert read_json(tmp_path / SPENT)["seconds"] >= 0


def test_a_run_without_stages_is_one_training(tmp_path, made):
    made.ends = [DONE]
    fine_tune(None, None, None, SFT(100), TOKEN_MEAN, 1, tmp_path)
    assert made.directories == [tmp_path.name]


def test_batches_are_of_any_lengths_where_length_says_what_is_seen():
    """Batches of like lengths come sorted: a model forgets long lists of edges over short ones."""
    told = [sft_options(SFT(8, any_length=any_), TOKEN_MEAN, 0) for any_ in (False, True)]
    strategies = [options["train_sampling_strategy"] for options in told]
    assert strategies == ["group_by_length", "random"]
    plain = {"steps": 8, "batch_size": 32, "learning_rate": 3e-3}
    assert hashed(SFT(8)) == plain, "old hashes stand"


def test_the_floor_is_noticed_over_an_interruption():
    logs = [{"segments/parse_fail": 0.9}] * 10 + [{"loss": 1.0}]
    control = SimpleNamespace(should_training_stop=False)
    floor = Floor(0.2)
    floor.on_train_begin(None, SimpleNamespace(log_history=logs[:6]), control)
    floor.on_log(None, SimpleNamespace(log_history=logs[:9]), control)
    assert not floor.reached and not control.should_training_stop
    floor.on_log(None, SimpleNamespace(log_history=logs), control)
    assert floor.reached and control.should_training_stop
    again = Floor(0.2)
    with pytest.raises(Stopped):
        again.on_train_begin(None, SimpleNamespace(log_history=logs), control)
    assert again.reached
