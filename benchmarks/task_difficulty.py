"""How often the tiny model, trained on each level of each task, gets it wrong.

    python benchmarks/task_difficulty.py --out runs/difficulty            # half an hour on a core
    python benchmarks/task_difficulty.py --out runs/smoke --steps 4       # to see that it runs

A cell is a study (docs/study.md) with one arm: a base that sees a little, fine-tuned on full
responses of its level with the mean over all tokens, then measured on the test split of the same
level. All cells have the same model, steps and batches; only the level differs within a task.
Pictures are small, so that the tiny model's patches hold a digit. Goes on where it stopped.
results/task_difficulty.csv has the rates of errors, with 95% intervals over the test instances:
of answers (a), of whole perceptions (a_p), of the parts of a perception, which tell levels apart
where no whole one is right, and of answers from the true perception (a_r).
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

from common import RESULTS

from percbal.study import files
from percbal.study.plan import SFT, Study
from percbal.study.presets import TOKEN_MEAN, bases
from percbal.study.runner import run_study
from percbal.tasks.picture_task import LEVELS

TASKS: dict[str, dict[str, Any]] = {  # options that make pictures and responses small
    "sudoku": {"size": 4},
    "coloring": {"pixels": 144, "verbosity": 0},
    # points, whose labels follow from where they stand: words are too small to be read
    "chart": {"pixels": 128, "verbosity": 1, "kind": "scatter", "question": "range"},
}
INSTANCES = 3000  # to be trained on, again and again
MODEL = {"patch_size": 16, "max_positions": 1024}
METRICS = {"a": "a", "a_p": "a_p", "perception_f1": "parts", "a_r": "a_r"}  # and columns' names


def cell(task: str, level: str, steps: int, n: int, seed: int) -> Study:
    """The study of one level of one task."""
    return Study(
        name=f"{task}-{level}",
        about=f"{task}, {level}",
        starts=bases(seed),
        arms=(TOKEN_MEAN,),
        sft=SFT(steps, 32, INSTANCES),
        base=SFT(steps // 2, 64, INSTANCES),
        task=task,
        task_options={**TASKS[task], "level": level},
        model_options=MODEL,
        test_instances=n,
    )


def row_of(study: Study, root: Path) -> dict[str, object]:
    """Rates of errors with their intervals, by the diagnosis of the study's one run."""
    (run,) = study.runs()
    path = files.run_directory(root, run) / files.DIAGNOSIS
    found = json.loads(path.read_text())["accuracies"]
    options = study.task_options
    row: dict[str, object] = {"task": study.task, "level": options["level"]}
    row |= {"steps": study.sft.steps, "seed": run.seed, "test instances": study.test_instances}
    for metric, name in METRICS.items():
        wrong = [round(1 - found[metric][side], 4) for side in ("value", "high", "low")]
        row |= dict(zip((f"wrong {name}", f"{name} from", f"{name} to"), wrong, strict=True))
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--n", type=int, default=256, help="test instances")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    rows = []
    target = (RESULTS if args.steps > 100 else args.out) / "task_difficulty.csv"
    for task in args.tasks:
        for level in LEVELS:
            study = cell(task, level, args.steps, args.n, args.seed)
            run_study(study, args.out / study.name, jobs=args.jobs)
            rows.append(row_of(study, args.out / study.name))
            print(rows[-1], flush=True)
            with open(target, "w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)


if __name__ == "__main__":
    main()
