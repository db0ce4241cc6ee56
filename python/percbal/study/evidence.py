"""The registered studies: what is expected of them stands in docs/studies, and was said before.

Starts are made by stop rules, rates are tuned for every arm on seeds of their own, and each run is
a line of docs/results.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from percbal.study.plan import GRPO, SFT, Arm, Start, Stop, Study, Tuning

PERCEPTION_FIRST = Arm(
    "perception first",
    options={"balance": "token_mean"},
    first={"balance": "fixed", "lam": 1.0},
    first_share=0.3,
)
TOKEN_MEAN = Arm("token-mean", options={"balance": "token_mean"})
FIXED = Arm("fixed 0.5", options={"balance": "fixed", "lam": 0.5})
NGDIFF = Arm("NGDiff", options={"balance": "ngdiff"})
# Hard enough to see that a model which has begun to read digits still misreads some after training.
PICTURES = {"blanks": [3, 6], "noise": 0.1, "cell_jitter": 1, "grid_shift": 3}
CALIBRATED = Arm("calibrated", options={"balance": "calibrated"})
ARMS = (TOKEN_MEAN, FIXED, NGDIFF, CALIBRATED, PERCEPTION_FIRST)
CELL_ARMS = (TOKEN_MEAN, FIXED, NGDIFF)
LAMBDAS = (0.05, 0.18, 0.82, 0.95)  # log-odds -3, -1.5, 1.5 and 3, beside 0
# The grid, widened once at its lower end, where two arms were best, and the seeds of its bases.
RATES, TUNED_ON = (3e-3, 6e-3, 1.2e-2, 2.4e-2), (91, 92, 93)
COMPETENT = Stop(exact_p=(0.1, 0.25), every=20, least=40)


def bases(*seeds: int) -> tuple[Start, ...]:
    """Repetitions of one another."""
    return tuple(Start(f"base {seed}", seed, population="base") for seed in seeds)


def _against_token_mean(arms: tuple[Arm, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((arm.name, TOKEN_MEAN.name) for arm in arms if arm != TOKEN_MEAN)


SUDOKU = Study(
    name="sft-sudoku",
    about="4x4 Sudoku, perception 17% of the tokens: every arm at its tuned rate from 16 bases of "
    "equal competence; the main cell, six hours on one core",
    starts=bases(*range(1, 17)),
    arms=ARMS,
    compared=_against_token_mean(ARMS),
    task_options=PICTURES,
    base=SFT(2000, 64, 6_000, stop=COMPETENT),
    sft=SFT(1200, 32, 14_000),
    samples=4,
    exact=True,
    tuning=Tuning(RATES, TUNED_ON, "sft-sudoku"),
    registered="sft",
)

SWEEP = tuple(
    Arm(f"fixed {lam}", options={"balance": "fixed", "lam": lam}, rate_of=FIXED.name)
    for lam in LAMBDAS
)
LAMBDA = replace(
    SUDOKU,
    name="sft-lambda",
    about="lambda on a grid of log-odds in the cell of sft-sudoku, at the rate that fixed 0.5 has "
    "there, from four bases; an hour and a half on one core",
    starts=bases(21, 22, 23, 24),
    arms=(FIXED, *SWEEP),
    compared=((FIXED.name, "fixed 0.05"), (FIXED.name, "fixed 0.95")),
)

# The same in other cells: another task, and each with long reasoning, so that perception is 5 to 6%
# of the tokens, as near to 2.5% as such a model allows in the time.
# Of 6 or 7 vertices 512 test pictures show 106 graphs up to numbering, of 5 or 6 they show 23.
GRAPHS = {
    "layout": "ring",
    "vertices": [6, 7],
    "density": [0.3, 0.7],
    "pixels": 96,
    "noise": 0.05,
}
# Lists of edges differ in length, unlike grids; edges are seen in 64 patches of 12 x 12 pixels.
COLORING: dict[str, Any] = {
    "task": "coloring",
    "task_options": GRAPHS,
    "model_options": {"patch_size": 12},
    "base": replace(SUDOKU.base, any_length=True),
    "sft": replace(SUDOKU.sft, any_length=True),
}
# With every trial written down. Smaller graphs and fewer blanks than above: of those, 600 steps of
# this reasoning taught next to none of it.
COLORING_LONG: dict[str, Any] = {
    **COLORING,
    "task_options": {**GRAPHS, "vertices": [5, 6], "verbosity": 3},
}
SUDOKU_LONG: dict[str, Any] = {
    "task_options": {**PICTURES, "blanks": [3, 4], "verbosity": 3},
    "sft": replace(SUDOKU.sft, steps=1000),
}
COLORED = "sft-coloring"


def _cell(name: str, about: str, first: int, tuned: Tuning, file: str, of_task: Any) -> Study:
    """Three arms from the eight bases of seed ``first`` on."""
    return replace(
        SUDOKU,
        name=name,
        about=f"{about}: three arms from eight bases of equal competence",
        starts=bases(*range(first, first + 8)),
        arms=CELL_ARMS,
        compared=_against_token_mean(CELL_ARMS),
        tuning=tuned,
        registered=file,
        **of_task,
    )


# Its own, widened twice at the lower end, where fixed 0.5 was best, and then token-mean.
COLORING_RATES = Tuning((1.5e-3, *RATES), TUNED_ON, COLORED)
SUDOKU_RATES = Tuning(RATES, TUNED_ON, "sft-sudoku", lines="sft.jsonl")
SHORTER: dict[str, Any] = {"test_instances": 256, "samples": 2}
CELLS = (
    _cell(
        COLORED,
        "graph colouring, perception 17% of the tokens, at tuned rates",
        31,
        COLORING_RATES,
        "sft-coloring",
        COLORING,
    ),
    _cell(
        "sft-coloring-long",
        "graph colouring, perception 5% of the tokens, at the rates of sft-sudoku",
        51,
        SUDOKU_RATES,
        "sft-long",
        SHORTER | COLORING_LONG,
    ),
    _cell(
        "sft-sudoku-long",
        "4x4 Sudoku, perception 6% of the tokens, at the rates of sft-sudoku",
        61,
        SUDOKU_RATES,
        "sft-long",
        SHORTER | SUDOKU_LONG,
    ),
)

SMOKE = replace(
    SUDOKU,
    name="sft-smoke",
    about="a few steps of tuning and arms, to see that they run; its numbers mean nothing",
    starts=bases(1, 2),
    arms=(TOKEN_MEAN, PERCEPTION_FIRST, CALIBRATED),
    compared=_against_token_mean((PERCEPTION_FIRST, CALIBRATED)),
    task_options={},
    model_options=dict(hidden=16, layers=1, heads=2, mlp=32),
    base=SFT(4, 8, 32, stop=Stop(exact_p=(1e-300, 1.0), every=2, instances=4)),
    sft=SFT(4, 8, 96),
    test_instances=8,
    samples=2,
    tuning=Tuning((1e-3, 3e-3), (91,), "sft-smoke"),
    registered="",
)

# --- dose and response -------------------------------------------------------------------------

# Of verdicts that are right in 6%, spread over the pictures: an r of 0, 0.26, 0.48, 0.67 and 0.83.
FLIPS = (0.5, 0.24, 0.11, 0.05, 0.02)
LOOKS_BADLY = Stop(exact_p=(0.05, 0.2), sampled_r=(0.5, 0.95), every=50)


def _perception_paid(name: str, reward: str, flips: float = 0.0, **options: str) -> Arm:
    """Perception tokens by a perception reward alone, reasoning tokens by the outcome."""
    wanted = {"credit": "segment", "alpha": 1.0, "perception_reward": reward, **options}
    return Arm(name, "grpo", wanted, flips=flips)


DOSES = (
    _perception_paid("truth", "perception"),
    *(_perception_paid(f"flipped {f}", "flipped_perception", f) for f in FLIPS),
    _perception_paid("agreement", "group_agreement"),
    _perception_paid("blind", "blind_reanswer", blind_from="continue"),
    _perception_paid("dense", "perception_f1"),
    Arm("outcome", "grpo", {"credit": "segment", "alpha": 0.0}),
)
DOSE = replace(
    SUDOKU,
    name="dose",
    about="GRPO from six starts where perception is rare: perception tokens paid by verdicts of "
    "six correlations with the truth, and by three surrogates; six hours on one core",
    starts=tuple(
        Start(
            f"start {seed}",
            seed,
            Arm("fixed 0.1", options={"balance": "fixed", "lam": 0.1}),
            "perception rare",
            LOOKS_BADLY,
        )
        for seed in range(41, 47)
    ),
    arms=DOSES,
    compared=tuple((arm.name, "outcome") for arm in DOSES if arm.name != "outcome"),
    task_options={**PICTURES, "blanks": [2, 2]},  # short: more rollouts in the time
    base=SFT(2000, 64, 6_000, stop=Stop(exact_p=(0.05, 0.2), every=20, least=40)),
    sft=SFT(2000, 32, 14_000),
    grpo=GRPO(updates=100, warmup=10, max_tokens=80, readable=0.2, watched=(25, 50)),
    measure_starts=True,
    tuning=None,
    registered="dose",
)

DOSE_SMOKE = replace(
    DOSE,
    name="dose-smoke",
    about="three updates of the arms of dose, to see that they run; its numbers mean nothing",
    starts=tuple(
        replace(start, stop=Stop(exact_p=(1e-300, 1.0), every=2, instances=4))
        for start in DOSE.starts[:1]
    ),
    arms=(DOSES[1], DOSES[-2], DOSES[-1]),
    compared=((DOSES[1].name, "outcome"),),
    task_options={},
    model_options=SMOKE.model_options,
    base=SMOKE.base,
    sft=SMOKE.sft,
    grpo=GRPO(updates=3, prompts=2, group=4, max_tokens=40, watched=(2,)),
    test_instances=8,
    registered="",
)

STUDIES = (SUDOKU, LAMBDA, *CELLS, SMOKE, DOSE, DOSE_SMOKE)
