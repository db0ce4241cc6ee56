"""What a study trains and measures, as data: a preset is a ``Study`` with a name."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

BASE = "base"  # name of the training that all arms of a seed start from


@dataclass(frozen=True)
class Arm:
    """One way to weigh the segments; see ``BalancedSFTConfig``."""

    name: str
    balance: str
    lam: float = 0.5
    learning_rate: float | None = None  # None: the study's


@dataclass(frozen=True)
class Study:
    """One model trained from the same weights on the same batches by every arm, per seed.

    The weights are those of a base model: random ones, trained for ``base_steps`` on perception
    alone, so that the arms post-train a model that sees already, if not well.
    """

    name: str
    about: str
    task: str = "sudoku"
    task_options: dict[str, Any] = field(default_factory=dict)
    model_options: dict[str, Any] = field(default_factory=dict)
    base_instances: int = 8_000
    base_steps: int = 500
    base_batch_size: int = 64
    train_instances: int = 30_000
    test_instances: int = 512
    steps: int = 1500
    batch_size: int = 32
    learning_rate: float = 3e-3
    arms: tuple[Arm, ...] = ()
    seeds: tuple[int, ...] = (0, 1)  # fixed in advance: none is dropped or added afterwards

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        if len(set(names)) != len(names) or BASE in names:
            raise ValueError(
                f"arms of a study need names of their own, none of them {BASE!r}, "
                f"got {', '.join(names)}"
            )
        if not self.arms or not self.seeds:
            raise ValueError(f"a study needs arms and seeds, got {names} and {self.seeds}")

    def arm(self, name: str) -> Arm:
        """The arm called ``name``; ValueError names the known ones."""
        for arm in self.arms:
            if arm.name == name:
                return arm
        known = ", ".join(arm.name for arm in self.arms)
        raise ValueError(f"study {self.name!r} has no arm {name!r}; its arms: {known}")

    def save(self, path: Path) -> None:
        """Write JSON."""
        path.write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def load(cls, path: Path) -> Study:
        """Read what ``save`` wrote."""
        fields = json.loads(path.read_text())
        arms = tuple(Arm(**arm) for arm in fields.pop("arms"))
        seeds = tuple(fields.pop("seeds"))
        return cls(**fields, arms=arms, seeds=seeds)


TOKEN_MEAN = Arm("token-mean", "token_mean")
FIXED = Arm("fixed 0.5", "fixed", lam=0.5)
NGDIFF = Arm("NGDiff", "ngdiff", lam=0.5)

# Hard enough to see that a model which has begun to read digits still misreads some after training.
PICTURES = {"blanks": [3, 6], "noise": 0.1, "cell_jitter": 1, "grid_shift": 3}

PRESETS = {
    study.name: study
    for study in (
        Study(
            name="quick",
            about="4x4 Sudoku, 0.2M parameters, two seeds; ten minutes on two cores",
            task_options=PICTURES,
            base_instances=6_000,
            base_steps=500,
            train_instances=14_000,
            test_instances=512,
            steps=1200,
            arms=(TOKEN_MEAN, FIXED, NGDIFF),
            seeds=(3, 4),
        ),
        Study(
            name="full",
            about="the same trained longer: token-mean at three learning rates, three lambdas, "
            "four seeds; two to three hours on two cores",
            task_options=PICTURES,
            base_instances=6_000,
            base_steps=500,
            train_instances=30_000,
            test_instances=1024,
            steps=2000,
            arms=(
                TOKEN_MEAN,
                Arm("token-mean, lr/2", "token_mean", learning_rate=1.5e-3),
                Arm("token-mean, 2 lr", "token_mean", learning_rate=6e-3),
                Arm("fixed 0.3", "fixed", lam=0.3),
                FIXED,
                Arm("fixed 0.7", "fixed", lam=0.7),
                NGDIFF,
            ),
            seeds=(11, 12, 13, 14),
        ),
        Study(
            name="smoke",
            about="a few steps of everything, to see that it runs; its numbers mean nothing",
            model_options=dict(hidden=16, layers=1, heads=2, mlp=32),
            base_instances=32,
            base_steps=2,
            base_batch_size=8,
            train_instances=96,
            test_instances=8,
            steps=4,
            batch_size=8,
            arms=(TOKEN_MEAN, NGDIFF),
            seeds=(0, 1),
        ),
    )
}
