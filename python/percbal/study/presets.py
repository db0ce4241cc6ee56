"""The studies that ``percbal study --preset`` knows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from percbal.study import evidence
from percbal.study.evidence import FIXED as FIXED
from percbal.study.evidence import NGDIFF as NGDIFF
from percbal.study.evidence import PICTURES as PICTURES
from percbal.study.evidence import TOKEN_MEAN as TOKEN_MEAN
from percbal.study.plan import GRPO, SFT, Arm, Start, Study


def bases(*seeds: int) -> tuple[Start, ...]:
    """Starts that have seen no full response, repetitions of one another."""
    return tuple(Start(f"seed {seed}", seed, population="base") for seed in seeds)


def _fixed(lam: float) -> Arm:
    return Arm(f"fixed {lam}", options={"balance": "fixed", "lam": lam})


def _against(first: Arm, *arms: Arm) -> tuple[tuple[str, str], ...]:
    return tuple((arm.name, first.name) for arm in arms)


# --- fine-tuning -------------------------------------------------------------------------------

QUICK = Study(
    name="quick",
    about="4x4 Sudoku, 0.2M parameters, two seeds; ten minutes on two cores",
    starts=bases(3, 4),
    arms=(TOKEN_MEAN, FIXED, NGDIFF),
    compared=_against(TOKEN_MEAN, FIXED, NGDIFF),
    task_options=PICTURES,
    sft=SFT(1200, 32, 14_000),
)

SMOKE = Study(
    name="smoke",
    about="a few steps of everything, to see that it runs; its numbers mean nothing",
    starts=bases(0, 1),
    arms=(TOKEN_MEAN, NGDIFF),
    compared=_against(TOKEN_MEAN, NGDIFF),
    model_options=dict(hidden=16, layers=1, heads=2, mlp=32),
    base=SFT(2, 8, 32),
    sft=SFT(4, 8, 96),
    test_instances=8,
)

# --- reinforcement -----------------------------------------------------------------------------


def _mixed(name: str, alpha: float, **options: Any) -> Arm:
    return Arm(name, "grpo", {"credit": "scalar", "alpha": alpha, **options})


def _credited(name: str, credit: str, alpha: float) -> Arm:
    return Arm(name, "grpo", {"credit": credit, "alpha": alpha})


ARMS = (  # in the order in which they run
    _mixed("outcome", 0.0),
    _mixed("scalar 0.5", 0.5),
    _credited("segment 0.5", "segment", 0.5),
    _credited("same perception 0", "same_perception", 0.0),
    Arm("SFT fixed 0.5", options={"balance": "fixed", "lam": 0.5, "learning_rate": 1e-3}),
    _credited("normalized 0.5", "normalized", 0.5),
    _mixed("scalar 0.25", 0.25),
    _mixed("scalar 0.75", 0.75),
    # the reward of "scalar", averaged as "segment" is
    _mixed("segment means 0.5", 0.5, balance="fixed"),
    _mixed("agreement 0.5", 0.5, perception_reward="group_agreement"),
    _mixed("blind 0.5", 0.5, perception_reward="blind_reanswer", blind_from="continue"),
    _mixed("scalar auto", 0.5, alpha_rule="coupling"),
)

COMPARED = (
    ("scalar 0.5", "outcome"),
    ("segment 0.5", "outcome"),
    ("same perception 0", "outcome"),
    ("segment 0.5", "scalar 0.5"),
    ("segment means 0.5", "scalar 0.5"),
    ("segment 0.5", "segment means 0.5"),
    ("normalized 0.5", "scalar 0.5"),
    ("scalar auto", "scalar 0.5"),
    ("agreement 0.5", "outcome"),
    ("blind 0.5", "outcome"),
)

# Each segment alone, by the reward that is its own: what must work before the rest can.
CHECKS = (
    _mixed("perception alone", 1.0, max_completion_length=20),
    replace(_mixed("reasoning alone", 0.0), oracle=True),
)

# Where seeing is the bottleneck, and where reasoning is: from one base, fine-tuned to two ends.
STARTS = tuple(Start(arm.name, 3, arm) for arm in (_fixed(0.5), _fixed(0.9)))

RL = Study(
    name="rl",
    about="4x4 Sudoku, 0.2M parameters: twelve arms from two starts with three seeds, 45 updates "
    "of 512 rollouts; three hours on two cores",
    starts=STARTS,
    arms=ARMS,
    compared=COMPARED,
    seeds=(51, 52, 53),
    task_options={**PICTURES, "blanks": [2, 3]},  # short reasoning: more rollouts in the time
    sft=SFT(1800, 32, 14_000),
    samples=2,
    known=True,
    measure_starts=True,
)

RL_CHECKS = replace(
    RL,
    name="rl-checks",
    about="each segment reinforced alone, by its own reward; a quarter of an hour on two cores",
    arms=CHECKS,
    compared=(),
    seeds=(31,),
    grpo=GRPO(updates=80),
)

RL_SMOKE = replace(
    RL,
    name="rl-smoke",
    about="two updates of everything, to see that it runs; its numbers mean nothing",
    starts=tuple(Start(arm.name, 0, arm) for arm in (TOKEN_MEAN, FIXED)),
    arms=tuple(
        arm
        for arm in ARMS
        if arm.name in ("outcome", "same perception 0", "blind 0.5", "SFT fixed 0.5")
    ),
    compared=(("same perception 0", "outcome"),),
    seeds=(0,),
    task_options={},
    model_options=SMOKE.model_options,
    base=SMOKE.base,
    sft=SMOKE.sft,
    grpo=GRPO(updates=2, prompts=2, group=4, max_tokens=40),
    test_instances=8,
)

PRESETS = {
    study.name: study for study in (QUICK, SMOKE, RL, RL_CHECKS, RL_SMOKE, *evidence.STUDIES)
}
