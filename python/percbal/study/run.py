"""One training of a study in a process of its own, and for an arm what it is worth.

``python -m percbal.study.job DIRECTORY base SEED | start NAME | arm RUN PLACE``, RUN as JSON

It leaves in its directory ``progress.json`` while it works, checkpoints to go on from, and at the
end the model, ``history.json`` and, of an arm, ``diagnosis.json`` and ``evaluation.json``.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, ProcessorMixin

from percbal.evaluate.questions import task_questions
from percbal.evaluate.sampled import Evaluation, Scores, coupling, evaluate
from percbal.models.loading import load_vlm
from percbal.responses.asking import Asking
from percbal.sft.encoded import EncodedDataset
from percbal.study import files
from percbal.study.data import encoded, fresh
from percbal.study.job_pool import TRAINED, write_progress
from percbal.study.json_files import read_json, write_json
from percbal.study.logged import GRPO_LOGS, SFT_LOGS, logged, signals, thirds
from percbal.study.machine import kind_of, made_here
from percbal.study.plan import (
    GRPO,
    KNOWN,
    NEW,
    SPLITS,
    START,
    TEST_SEED,
    Arm,
    Run,
    Study,
)
from percbal.study.recipes import NO_START, REACHED
from percbal.study.training import History, Trained, fine_tune, reinforce
from percbal.study.watch import WATCHED, Watch
from percbal.tasks import get_task

TUNING_SEED = 41_000  # of the instances that rates are tuned on


def run_base(root: Path, seed: int) -> None:
    """Teach an untrained model to see a little."""
    study = Study.load(root / files.STUDY)
    model, processor = load_vlm(files.untrained(root, seed))
    data, out = EncodedDataset.load(root / files.BASE_DATA), files.base_directory(root, seed)
    arm = Arm("base", options={"balance": "token_mean"})
    task = get_task(study.task, **study.task_options)
    _keep(
        model, processor, fine_tune(model, processor, data, study.base, arm, seed, out, task), out
    )


def run_start(root: Path, name: str) -> None:
    """Fine-tune a base to a start."""
    study = Study.load(root / files.STUDY)
    start = study.start(name)
    assert start.arm is not None, "a base is its own start"
    base, out = files.base_directory(root, start.seed), files.start_directory(root, start)
    outcome = read_json(base / files.OUTCOME)
    if outcome["verdict"] != REACHED:  # as its base, it is none
        write_json(out / files.OUTCOME, outcome)
        return
    model, processor = load_vlm(base / files.MODEL)
    data = EncodedDataset.load(root / files.DATA)
    task, recipe = get_task(study.task, **study.task_options), study.start_recipe(start)
    trained = fine_tune(model, processor, data, recipe, start.arm, start.seed, out, task)
    _keep(model, processor, trained, out)


def run_arm(root: Path, run: Run, out: Path) -> None:
    """Train an arm, or take the start itself, and measure it.

    Of a start that missed its competence there is nothing to train, which is a result.
    """
    study = Study.load(root / files.STUDY)
    failed = _failed(root, study, run)
    known: dict[str, Any] = dict(files.identity(root, study, run))
    if failed:
        write_json(out / files.EVALUATION, {"status": failed, **known, **_made(Trained([]))})
        return
    model, processor = load_vlm(files.start_directory(root, study.start(run.start)) / files.MODEL)
    trained = Trained([])
    if run.arm != START:
        trained = _train(study, run, model, processor, root, out)
        _keep(model, processor, trained, out)
    known |= _made(trained)
    write_progress(out, TRAINED)
    began = time.monotonic()
    found = measure(study, model, processor, tuning=run.tuning)
    known["seconds"]["evaluate"] = round(time.monotonic() - began, 1)
    write_json(out / files.DIAGNOSIS, next(iter(found.values())).diagnosis.to_dict())
    joined = _joined(found)
    write_json(
        out / files.EVALUATION,
        {
            "status": trained.status,
            **known,
            "samples": len(joined["a"][0]),
            "right": {name: result.right() for name, result in found.items()},
            "exact_p": [chance for result in found.values() for chance in result.exact],
            "perception_f1": next(iter(found.values())).diagnosis.perception_f1,
            "unreadable": sum(result.diagnosis.parse_failures for result in found.values()),
            "coupling": coupling(joined) if joined["a"][0] else {},
            **_logged(study, run, trained.history),
            "watched": read_json(out / WATCHED) or {},
        },
    )


def _failed(root: Path, study: Study, run: Run) -> str:
    """Why nothing can be trained from the run's start; nothing where something can."""
    outcome = read_json(files.start_directory(root, study.start(run.start)) / files.OUTCOME)
    return "" if outcome["verdict"] == REACHED else f"{NO_START}: {outcome['verdict']}"


def _logged(study: Study, run: Run, history: History) -> dict[str, Any]:
    """What the log says of the parts of the training; the start itself has none."""
    if run.arm == START:
        return {"signal": {}, "logged": {}}
    recipe = study.recipe(study.start(run.start), study.arm(run.arm), run.rate)
    if isinstance(recipe, GRPO):
        return {
            "thirds": "steps",
            "signal_at_start": signals(history, [recipe.warmup]),
            "signal": signals(history, thirds(recipe.updates)),
            "logged": logged(history, GRPO_LOGS, thirds(recipe.updates)),
        }
    return {
        "thirds": "steps",
        "signal": {},
        "logged": logged(history, SFT_LOGS, thirds(recipe.steps)),
    }


def _train(
    study: Study,
    run: Run,
    model: PreTrainedModel,
    processor: ProcessorMixin,
    root: Path,
    out: Path,
) -> Trained:
    arm = study.arm(run.arm)
    recipe = study.recipe(study.start(run.start), arm, run.rate)
    task = get_task(study.task, **study.task_options)
    if isinstance(recipe, GRPO):
        watch = None
        if recipe.watched:
            shown = task_questions(task, study.test_instances, SPLITS[NEW], TEST_SEED, Asking())
            watch = Watch(recipe.watched, shown, processor, out / WATCHED)
        return reinforce(model, processor, task, recipe, arm, run.seed, out, watch)
    if recipe.instances is None:
        data = encoded(fresh(task, recipe.steps * recipe.batch_size, run.seed), processor)
    else:
        data = EncodedDataset.load(root / files.DATA)
    return fine_tune(model, processor, data, recipe, arm, run.seed, out)


def measure(
    study: Study, model: PreTrainedModel, processor: ProcessorMixin, *, tuning: bool = False
) -> dict[str, Evaluation]:
    """On the test's own pictures, and on those of known grids where the study asks for them.

    tuning: on other pictures of known grids, which no result uses.
    """
    wanted = {n: split for n, split in SPLITS.items() if study.known or n == NEW}
    return {
        name: evaluate(
            model,
            processor,
            get_task(study.task, **study.task_options),
            n=study.test_instances,
            samples=min(study.samples, 2) if tuning else study.samples,
            split=split,
            instance_seed=TUNING_SEED if tuning else TEST_SEED,
            exact=study.exact,
        )
        for name, split in ({KNOWN: SPLITS[KNOWN]} if tuning else wanted).items()
    }


def _joined(found: dict[str, Evaluation]) -> Scores:
    """Of the instances of all splits."""
    parts = [result.sampled for result in found.values()]
    return {name: [row for part in parts for row in part[name]] for name in parts[0]}


def _keep(model: PreTrainedModel, processor: ProcessorMixin, trained: Trained, out: Path) -> None:
    """History, then model and processor, to load like any other, whole or not at all; then how it
    ended."""
    write_json(out / files.HISTORY, trained.history)
    if not (out / files.MODEL).exists():
        partial = out / f"{files.MODEL}.partial"
        model.save_pretrained(partial)
        processor.save_pretrained(partial)
        os.replace(partial, out / files.MODEL)
    write_json(out / files.OUTCOME, asdict(trained.outcome) | _made(trained))


def _made(trained: Trained) -> dict[str, Any]:
    """Where, when and in how many seconds a training was made; ``machine.also`` has the further
    kinds of machines that had a part in it."""
    made = made_here(torch.get_num_threads())
    also = [kind for kind in trained.kinds if kind != kind_of(made)]
    if also:
        made["machine"]["also"] = also
    return {**made, "seconds": {"train": round(trained.seconds, 1)}}


def main(directory: str, stage: str, *names: str) -> None:
    """What the module's docstring says."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    root = Path(directory)

    stages: dict[str, Any] = {
        "base": lambda seed: run_base(root, int(seed)),
        "start": lambda name: run_start(root, name),
        "arm": lambda run, out: run_arm(root, Run(**json.loads(run)), Path(out)),
    }
    stages[stage](*names)
