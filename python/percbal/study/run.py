"""One training of a study in a process of its own, and for an arm what it is worth.

``python -m percbal.study.job DIRECTORY base SEED | start NAME | arm START ARM SEED``

It leaves in its directory ``progress.json`` while it works, checkpoints to go on from, and at the
end the model, ``history.json`` and, of an arm, ``diagnosis.json`` and ``evaluation.json``.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, ProcessorMixin

from percbal.evaluate.sampled import Evaluation, Scores, coupling, evaluate
from percbal.models.loading import load_vlm
from percbal.sft.encoded import EncodedDataset
from percbal.study import files
from percbal.study.data import encoded, fresh
from percbal.study.job_pool import TRAINED, write_progress
from percbal.study.json_files import write_json
from percbal.study.plan import GRPO, NEW, SPLITS, START, TEST_SEED, Arm, Run, Study
from percbal.study.training import History, fine_tune, reinforce
from percbal.tasks import get_task

SIGNALS = ("outcome", "group_agreement", "blind_reanswer")  # rewards whose coupling is followed


def run_base(root: Path, seed: int) -> None:
    """Teach an untrained model to see a little."""
    study = Study.load(root / files.STUDY)
    model, processor = load_vlm(files.untrained(root, seed))
    data, out = EncodedDataset.load(root / files.BASE_DATA), files.base_directory(root, seed)
    arm = Arm("base", options={"balance": "token_mean"})
    _keep(model, processor, fine_tune(model, processor, data, study.base, arm, seed, out), out)


def run_start(root: Path, name: str) -> None:
    """Fine-tune a base to a start."""
    study = Study.load(root / files.STUDY)
    start = study.start(name)
    assert start.arm is not None, "a base is its own start"
    model, processor = load_vlm(files.base_directory(root, start.seed) / files.MODEL)
    data, out = EncodedDataset.load(root / files.DATA), files.start_directory(root, start)
    history = fine_tune(model, processor, data, study.sft, start.arm, start.seed, out)
    _keep(model, processor, history, out)


def run_arm(root: Path, start_name: str, arm_name: str, seed: int) -> None:
    """Train an arm, or take the start itself, and measure it."""
    study = Study.load(root / files.STUDY)
    start = study.start(start_name)
    run = Run(start_name, arm_name, seed)
    out = files.run_directory(root, run)
    model, processor = load_vlm(files.start_directory(root, start) / files.MODEL)
    began = time.monotonic()
    history: History = []
    if arm_name != START:
        history = _train(study, run, model, processor, root, out)
        _keep(model, processor, history, out)
    trained = time.monotonic() - began
    write_progress(out, TRAINED)
    found = measure(study, model, processor)
    write_json(out / files.DIAGNOSIS, found[NEW].diagnosis.to_dict())
    seconds = {"train": round(trained, 1), "evaluate": round(time.monotonic() - began - trained, 1)}
    write_json(
        out / files.EVALUATION,
        {
            "samples": study.samples,
            "right": {name: result.right() for name, result in found.items()},
            "perception_f1": found[NEW].diagnosis.perception_f1,
            "unreadable": sum(result.diagnosis.parse_failures for result in found.values()),
            "coupling": coupling(_joined(found)) if study.samples else {},
            "signal": signals(history),
            "seconds": seconds,
        },
    )


def _train(
    study: Study,
    run: Run,
    model: PreTrainedModel,
    processor: ProcessorMixin,
    root: Path,
    out: Path,
) -> History:
    arm = study.arm(run.arm)
    recipe = study.recipe(study.start(run.start), arm)
    task = get_task(study.task, **study.task_options)
    if isinstance(recipe, GRPO):
        return reinforce(model, processor, task, recipe, arm, run.seed, out)
    if recipe.instances is None:
        data = encoded(fresh(task, recipe.steps * recipe.batch_size, run.seed), processor)
    else:
        data = EncodedDataset.load(root / files.DATA)
    return fine_tune(model, processor, data, recipe, arm, run.seed, out)


def measure(
    study: Study, model: PreTrainedModel, processor: ProcessorMixin
) -> dict[str, Evaluation]:
    """On the test's own pictures, and on those of known grids where the study asks for them."""
    return {
        name: evaluate(
            model,
            processor,
            get_task(study.task, **study.task_options),
            n=study.test_instances,
            samples=study.samples,
            split=split,
            instance_seed=TEST_SEED,
        )
        for name, split in SPLITS.items()
        if study.known or name == NEW
    }


def _joined(found: dict[str, Evaluation]) -> Scores:
    """Of the instances of all splits."""
    parts = [result.sampled for result in found.values()]
    return {name: [row for part in parts for row in part[name]] for name in parts[0]}


def signals(history: History) -> dict[str, list[float]]:
    """Mean logged correlation of each reward with perception in each third of the training."""
    found = {}
    for name in SIGNALS:
        key = f"coupling/r_{name}_perception"
        series = [entry[key] for entry in history if key in entry]
        if len(series) >= 3:
            found[name] = [float(np.mean(part)) for part in np.array_split(series, 3)]
    return found


def _keep(model: PreTrainedModel, processor: ProcessorMixin, history: History, out: Path) -> None:
    """History, then model and processor, to load like any other; whole or not at all."""
    write_json(out / files.HISTORY, history)
    if (out / files.MODEL).exists():
        return
    partial = out / f"{files.MODEL}.partial"
    model.save_pretrained(partial)
    processor.save_pretrained(partial)
    os.replace(partial, out / files.MODEL)


def main(directory: str, stage: str, *names: str) -> None:
    """What the module's docstring says."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    root = Path(directory)
    stages: dict[str, Any] = {
        "base": lambda seed: run_base(root, int(seed)),
        "start": lambda name: run_start(root, name),
        "arm": lambda start, arm, seed: run_arm(root, start, arm, int(seed)),
    }
    stages[stage](*names)
