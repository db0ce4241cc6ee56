"""The whole experiment: data, bases, starts and arms in parallel processes, then the table.

Everything lies in one directory and is made in steps that are skipped when already done, so that
an interrupted study goes on where it stopped when it is started again.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from percbal.models.tiny import build_tiny_vlm, pixel_statistics
from percbal.study import files
from percbal.study.data import make_data
from percbal.study.job_pool import Job, run_jobs
from percbal.study.json_files import write_json
from percbal.study.limits import limits
from percbal.study.plan import Run, Study
from percbal.study.results import Results, collect
from percbal.study.tables import note, table
from percbal.tasks import get_task

MODULE = "percbal.study.job"


def run_study(study: Study, root: Path, *, jobs: int | None = None) -> Results:
    """Run what is missing of a study in ``root``; return its results, also in ``results.json``.

    jobs: processes at once, one thread each; default one per core. Raises RuntimeError naming the
    runs that failed, once the others are done; ValueError if ``root`` holds another study, or if
    another process works on it.
    """
    jobs = jobs or os.cpu_count() or 1
    root.mkdir(parents=True, exist_ok=True)
    with _alone(root):
        return _run(study, root, jobs)


def _run(study: Study, root: Path, jobs: int) -> Results:
    _claim(study, root)
    _make_untrained_models(study, root)
    make_data(study, root, jobs)
    bases = [_base(root, seed) for seed in study.base_seeds()]
    run_jobs(bases, at_once=jobs, what="teaching to see a little")
    starts = [_start(root, study, start.name) for start in study.starts if start.arm]
    run_jobs(starts, at_once=jobs, what="fine-tuning the starts")
    try:
        runs = [_arm(root, run) for run in study.runs()]
        run_jobs(runs, at_once=jobs, what="training and measuring")
    finally:
        results = write_results(study, root)
    return results


def write_results(study: Study, root: Path) -> Results:
    """Collect what is there into results.json and results.md."""
    results = collect(study, root)
    write_json(root / files.RESULTS, results.to_dict())
    sections = (table(results), note(results), limits(study, results))
    (root / "results.md").write_text("\n\n".join(filter(None, sections)) + "\n")
    return results


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One process works on a study; the system gives the lock back however that one ends."""
    with open(root / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(f"another process is working on the study in {root}") from error
        yield


def _claim(study: Study, root: Path) -> None:
    path = root / files.STUDY
    if not path.exists():
        study.save(path)
    elif Study.load(path) != study:
        raise ValueError(f"{root} holds a study with other settings; choose another --name")


def _make_untrained_models(study: Study, root: Path) -> None:
    """Random weights, with pixels standardised by training images."""
    task = get_task(study.task, **study.task_options)
    images = [task.generate(index, "train", 0).image for index in range(64)]
    for seed in study.base_seeds():
        path = files.untrained(root, seed)
        if not path.exists():
            partial = path.with_suffix(".partial")
            build_tiny_vlm(
                partial,
                task.vocabulary(),
                pixel_stats=pixel_statistics(images),
                seed=seed,
                **{"image_size": images[0].width, **study.model_options},
            )
            os.replace(partial, path)


def _base(root: Path, seed: int) -> Job:
    out = files.base_directory(root, seed)
    command = ["-m", MODULE, str(root), "base", str(seed)]
    return Job(f"base {seed}", command, out, out / files.MODEL)


def _start(root: Path, study: Study, name: str) -> Job:
    out = files.start_directory(root, study.start(name))
    return Job(name, ["-m", MODULE, str(root), "start", name], out, out / files.MODEL)


def _arm(root: Path, run: Run) -> Job:
    out = files.run_directory(root, run)
    command = ["-m", MODULE, str(root), "arm", run.start, run.arm, str(run.seed)]
    label = f"{run.arm} from {run.start}, seed {run.seed}"
    return Job(label, command, out, out / files.EVALUATION)
