"""How often the tiny model, trained on each level of each task, gets it wrong.

    python benchmarks/task_difficulty.py --out runs/difficulty            # hours on two cores
    python benchmarks/task_difficulty.py --out runs/smoke --steps 4       # to see that it runs

A cell is a study (docs/study.md) with one arm: a base that sees a little, fine-tuned on full
responses of its level with the mean over all tokens, then measured on the test split of the same
level. All cells have the same model, steps and batches; only the level differs within a task.
Pictures are small, so that the tiny model's patches hold a digit. Goes on where it stopped.
results/task_difficulty.csv has the rates of errors, with 95% intervals over the test instances.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from common import RESULTS

from percbal.study.plan import SFT, Study
from percbal.study.presets import TOKEN_MEAN, bases
from percbal.study.runner import run_study
from percbal.tasks.picture_task import LEVELS

TASKS = {  # options that make pictures and responses small
    "sudoku": {"size": 4},
    "coloring": {"pixels": 144, "verbosity": 0},
    "chart": {"pixels": 128, "verbosity": 1},
}
MODEL = {"patch_size": 16, "max_positions": 1024}
METRICS = ("a", "a_p", "a_r")


def cell(task: str, level: str, steps: int, n: int, seed: int) -> Study:
    """The study of one level of one task."""
    return Study(
        name=f"{task}-{level}",
        about=f"{task}, {level}",
        starts=bases(seed),
        arms=(TOKEN_MEAN,),
        sft=SFT(steps, 32, 12 * steps),
        base=SFT(steps // 2, 64, 12 * steps),
        task=task,
        task_options={**TASKS[task], "level": level},
        model_options=MODEL,
        test_instances=n,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--n", type=int, default=512, help="test instances")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    rows = []
    for task in args.tasks:
        for level in LEVELS:
            study = cell(task, level, args.steps, args.n, args.seed)
            results = run_study(study, args.out / study.name, jobs=args.jobs)
            figures = results.rows[0].figures
            row = {"task": task, "level": level, "steps": args.steps, "seed": args.seed}
            for metric in METRICS:
                value, low, high = figures[metric]
                row |= {
                    f"wrong {metric}": round(1 - value, 4),
                    f"{metric} from": round(1 - high, 4),
                    f"{metric} to": round(1 - low, 4),
                }
            rows.append(row | {"test instances": args.n})
            print(row, flush=True)
    target = RESULTS if args.steps > 100 else args.out
    with open(target / "task_difficulty.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
