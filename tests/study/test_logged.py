"""Facts about what a line keeps of a training's log."""

from __future__ import annotations

import pytest

from percbal.study.lines import figures
from percbal.study.logged import GRPO_LOGS, SFT_LOGS, logged, signals, thirds


def at(steps, **values):
    return [{"step": step, **values} for step in steps]


def test_thirds_are_of_the_steps_where_a_log_is_dense_at_first():
    """60 entries of the first 360 steps, then 60 of the 840 after them, as of two stages."""
    history = at(range(6, 361, 6), **{"lambda": 1.0}) + at(range(374, 1201, 14), **{"lambda": 0.2})
    first, second, last = logged(history, SFT_LOGS, thirds(1200))["lambda"]
    # 360 steps of the first stage, and 28 that have been logged of the second
    assert first == pytest.approx((360 * 1.0 + 28 * 0.2) / 388)
    assert second == pytest.approx(0.2) and last == pytest.approx(0.2)


def test_a_training_that_ended_early_has_no_later_thirds():
    """Stopped after 12 of 150 updates: all of it is in the first third."""
    silent, r = "coupling/silent_groups", "coupling/r_outcome_perception"
    history = at(range(1, 13), **{silent: 0.5, r: 0.3})
    assert logged(history, GRPO_LOGS, thirds(150)) == {"silent_groups": [0.5, None, None]}
    assert signals(history, thirds(150)) == {"outcome": [pytest.approx(0.3), None, None]}


def test_a_correlation_at_the_start_is_that_of_the_warm_up():
    history = at(range(1, 11), **{"coupling/r_outcome_perception": 0.2})
    history += at(range(11, 151), **{"coupling/r_outcome_perception": 0.9})
    assert signals(history, [10]) == {"outcome": [pytest.approx(0.2)]}


def test_of_each_kind_of_training_its_own_logs_are_kept():
    """What fine-tuning logs beside stays out, so that its lines do not change."""
    history = [
        {"step": step, "loss_share_p": share, "entropy": 1.0, "completions/mean_length": 9.0}
        for step, share in ((1, 0.1), (2, 0.2), (3, 0.3))
    ]
    assert logged(history, SFT_LOGS, thirds(3)) == {"loss_share_p": [0.1, 0.2, 0.3]}
    assert set(logged(history, GRPO_LOGS, thirds(3))) == {"entropy", "mean_length"}


def test_every_reward_that_was_followed_is_a_signal():
    history = [
        {"step": x, "coupling/r_my_own_perception": x, "coupling/r_outcome_reasoning": 1}
        for x in (1, 2, 3)
    ]
    assert signals(history, thirds(3)) == {"my_own": [1.0, 2.0, 3.0]}


def test_what_was_never_logged_is_no_figure_of_a_line():
    right = {"greedy": dict.fromkeys(("a", "a_p", "a_r"), "10"), "sampled": {}}
    evaluation = {
        "right": {"new": right},
        "samples": 0,
        "exact_p": [],
        "unreadable": 0,
        "coupling": {},
        "signal": {"outcome": [0.5, None, None]},
        "signal_at_start": {"outcome": [0.4]},
        "logged": {"entropy": [None, 1.0, None]},
    }
    found = figures(evaluation)
    assert found["signal_outcome.1"] == 0.5 and found["signal_outcome.start"] == 0.4
    assert found["entropy.2"] == 1.0
    assert not {"signal_outcome.2", "entropy.1", "entropy.3"} & set(found)
