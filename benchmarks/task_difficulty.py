"""How often the tiny model, trained on each level of each task, gets it wrong.

    python benchmarks/task_difficulty.py --out runs/difficulty            # half an hour on a core
    python benchmarks/task_difficulty.py --out runs/smoke --steps 4       # to see that it runs

A cell is a study (docs/study.md) with one arm: a base that sees a little, fine-tuned on full
responses of its level with the mean over all tokens, then measured on the test split of the same
level. All cells have the same model, steps and batches, and only the level differs within a task;
a base of graphs takes longer to see. Pictures are small, so that the tiny model's patches hold a
digit. Goes on where it stopped. With --tasks the rows of other tasks stay as they are.
results/task_difficulty.csv has the rates of errors, with 95% intervals over the test instances:
of answers (a), of whole perceptions (a_p), of the parts of a perception, which tell levels apart
where no whole one is right, and of answers from the true perception (a_r).
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any, NamedTuple

from common import RESULTS

from percbal.study import files
from percbal.study.plan import SFT, Study
from percbal.study.presets import TOKEN_MEAN, bases
from percbal.study.runner import run_study
from percbal.tasks.picture_task import LEVELS


class Setting(NamedTuple):
    """options: of the task, to make pictures and responses small. base: steps on perceptions alone,
    as a share of those on full responses. base_instances: of the pictures that these draw.
    any_length: see ``SFT``."""

    options: dict[str, Any]
    base: float = 0.5
    base_instances: int = 3000
    any_length: bool = False


TASKS = {
    "sudoku": Setting({"size": 4}),
    "coloring": Setting({"pixels": 128}, base=0.8, base_instances=6000, any_length=True),
    # points, whose labels follow from where they stand: words are too small to be read
    "chart": Setting({"pixels": 128, "verbosity": 1, "kind": "scatter", "question": "range"}),
}
INSTANCES = 3000  # to be trained on, again and again
MODEL = {"patch_size": 16, "max_positions": 1024}
METRICS = {"a": "a", "a_p": "a_p", "perception_f1": "parts", "a_r": "a_r"}  # and columns' names


def cell(task: str, level: str, steps: int, n: int, seed: int) -> Study:
    """The study of one level of one task."""
    setting = TASKS[task]
    base_steps = round(setting.base * steps)
    return Study(
        name=f"{task}-{level}",
        about=f"{task}, {level}",
        starts=bases(seed),
        arms=(TOKEN_MEAN,),
        sft=SFT(steps, 32, INSTANCES, any_length=setting.any_length),
        base=SFT(base_steps, 64, setting.base_instances, any_length=setting.any_length),
        task=task,
        task_options={**setting.options, "level": level},
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


def keep(path: Path, row: dict[str, object]) -> None:
    """Write the row in place of that of its task and level; all others stay, in TASKS' order."""
    found: dict[tuple[object, object], dict[str, object]] = {}
    if path.exists():
        with open(path, newline="") as file:
            found = {(old["task"], old["level"]): dict(old) for old in csv.DictReader(file)}
    found[row["task"], row["level"]] = row
    order = [(task, level) for task in TASKS for level in LEVELS]
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerows(found[key] for key in order if key in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--n", type=int, default=256, help="test instances")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    target = (RESULTS if args.steps > 100 else args.out) / "task_difficulty.csv"
    for task in args.tasks:
        for level in LEVELS:
            study = cell(task, level, args.steps, args.n, args.seed)
            run_study(study, args.out / study.name, jobs=args.jobs)
            row = row_of(study, args.out / study.name)
            print(row, flush=True)
            keep(target, row)


if __name__ == "__main__":
    main()
