"""What an experiment in reinforcement learning trains and measures, as data."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from percbal.study.presets import FIXED, PICTURES, PRESETS, TOKEN_MEAN, Arm, Study


@dataclass(frozen=True)
class RLArm:
    """One way to go on from a start: options of ``BalancedGRPOConfig``, or fine-tuning.

    options: over the study's own. For kind "sft": those of ``BalancedSFTConfig``.
    oracle: prompts go on with the true perception, so that only reasoning is left to the policy.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    kind: str = "grpo"
    oracle: bool = False


@dataclass(frozen=True)
class RLStudy:
    """Models fine-tuned to different ends, from which every arm goes on, with several seeds.

    starts: a study whose arms, with its one seed, make the starting models.
    An update takes ``prompts * group`` rollouts at temperature 1, once, without a KL term.
    """

    name: str
    about: str
    starts: Study
    arms: tuple[RLArm, ...]
    seeds: tuple[int, ...]  # of the rollouts and prompts; fixed in advance
    compared: tuple[tuple[str, str], ...] = ()  # arms; shown is the first one minus the second
    updates: int = 45
    prompts: int = 32
    group: int = 16
    learning_rate: float = 2e-4
    warmup: int = 3
    max_tokens: int = 104
    test_instances: int = 512  # of known grids, and as many of new ones
    samples: int = 2  # completions per test instance at temperature 1

    def __post_init__(self) -> None:
        if len(self.starts.seeds) != 1:
            raise ValueError(f"starts need one seed, got {self.starts.seeds}")
        if not 1 <= self.samples <= 9:
            raise ValueError(f"samples must be 1 to 9, one digit, got {self.samples}")
        names = [arm.name for arm in self.arms]
        if len(set(names)) != len(names) or "start" in names:
            raise ValueError(
                f"arms need names of their own, none of them 'start', got {', '.join(names)}"
            )
        unknown = sorted({name for pair in self.compared for name in pair} - set(names))
        if unknown:
            raise ValueError(f"there is no arm {', '.join(unknown)} to compare")

    def arm(self, name: str) -> RLArm:
        """The arm called ``name``."""
        return next(arm for arm in self.arms if arm.name == name)

    def sft_steps(self, batch_size: int) -> int:
        """Fine-tuning steps that cost as much as the updates.

        A rollout's token costs a forward pass to sample and three to train on (one forward, one
        backward of twice its cost), a fine-tuning token three.
        """
        return round(4 / 3 * self.updates * self.prompts * self.group / batch_size)

    def save(self, path: Path) -> None:
        """Write JSON."""
        path.write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def load(cls, path: Path) -> RLStudy:
        """Read what ``save`` wrote."""
        fields = json.loads(path.read_text())
        starts = fields.pop("starts")
        starts["arms"] = tuple(Arm(**arm) for arm in starts["arms"])
        starts["seeds"] = tuple(starts["seeds"])
        fields["arms"] = tuple(RLArm(**arm) for arm in fields["arms"])
        fields["seeds"] = tuple(fields["seeds"])
        fields["compared"] = tuple((arm, minus) for arm, minus in fields.get("compared", ()))
        return cls(starts=Study(**starts), **fields)


def _mixed(alpha: float, **options: Any) -> dict[str, Any]:
    return {"credit": "scalar", "alpha": alpha, **options}


ARMS = (  # in the order in which they run
    RLArm("outcome", _mixed(0.0)),
    RLArm("scalar 0.5", _mixed(0.5)),
    RLArm("segment 0.5", {"credit": "segment", "alpha": 0.5}),
    RLArm("same perception 0", {"credit": "same_perception", "alpha": 0.0}),
    RLArm("SFT fixed 0.5", {"balance": "fixed", "lam": 0.5, "learning_rate": 1e-3}, kind="sft"),
    RLArm("normalized 0.5", {"credit": "normalized", "alpha": 0.5}),
    RLArm("scalar 0.25", _mixed(0.25)),
    RLArm("scalar 0.75", _mixed(0.75)),
    # the reward of "scalar", averaged as "segment" is
    RLArm("segment means 0.5", _mixed(0.5, balance="fixed")),
    RLArm("agreement 0.5", _mixed(0.5, perception_reward="group_agreement")),
    RLArm("blind 0.5", _mixed(0.5, perception_reward="blind_reanswer", blind_from="continue")),
    RLArm("scalar auto", _mixed(0.5, alpha_rule="coupling")),
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
    RLArm("perception alone", _mixed(1.0, max_completion_length=20)),
    RLArm("reasoning alone", _mixed(0.0), oracle=True),
)

STARTS = Study(
    name="starts",
    about="where seeing is the bottleneck, and where reasoning is",
    task_options={**PICTURES, "blanks": [2, 3]},  # short reasoning: more rollouts in the time
    base_instances=6_000,
    base_steps=500,
    train_instances=14_000,
    test_instances=256,
    steps=1800,
    arms=(Arm("fixed 0.5", "fixed", lam=0.5), Arm("fixed 0.9", "fixed", lam=0.9)),
    seeds=(3,),
)

RL_PRESETS = {
    study.name: study
    for study in (
        RLStudy(
            name="rl",
            about="4x4 Sudoku, 0.2M parameters: twelve arms from two starts with three seeds, "
            "45 updates of 512 rollouts; three hours on two cores",
            starts=STARTS,
            arms=ARMS,
            seeds=(51, 52, 53),
            compared=COMPARED,
        ),
        RLStudy(
            name="rl-checks",
            about="each segment reinforced alone, by its own reward; a quarter of an hour on two "
            "cores",
            starts=STARTS,
            arms=CHECKS,
            seeds=(31,),
            updates=80,
        ),
        RLStudy(
            name="rl-smoke",
            about="two updates of everything, to see that it runs; its numbers mean nothing",
            starts=replace(
                PRESETS["smoke"],
                name="starts",
                about="barely trained",
                arms=(TOKEN_MEAN, FIXED),
                seeds=(0,),
            ),
            arms=tuple(
                arm
                for arm in ARMS
                if arm.name in ("outcome", "same perception 0", "blind 0.5", "SFT fixed 0.5")
            ),
            seeds=(0,),
            compared=(("same perception 0", "outcome"),),
            updates=2,
            prompts=2,
            group=4,
            max_tokens=40,
            test_instances=8,
            samples=2,
        ),
    )
}
