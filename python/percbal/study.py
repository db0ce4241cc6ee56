"""The whole experiment: data, arms in parallel processes, diagnosis, table and report.

Everything lies in one directory and is made in steps that are skipped when already done, so that
an interrupted study goes on where it stopped when it is started again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import torch
from tqdm.auto import tqdm

from percbal.collate import EncodedDataset, SegmentCollator, encode_examples
from percbal.loading import load_processor
from percbal.presets import BASE, Study
from percbal.segments import Tags
from percbal.study_arm import run_directory, write_json
from percbal.study_results import Results, collect
from percbal.tasks import Instance, get_task
from percbal.tinyvlm import build_tiny_vlm, pixel_statistics

SHARD = 1000  # training instances that a process makes at once
DIAGNOSIS_STEPS = 0.1  # a diagnosis counts in the progress bar like so much of the training


def run_study(study: Study, root: Path, *, jobs: int | None = None) -> Results:
    """Run what is missing of a study in ``root``; return its results.

    jobs: processes at once, one thread each; default one per core. Raises RuntimeError naming the
    arms that failed, once the others are done; ValueError if ``root`` holds another study.
    """
    jobs = jobs or os.cpu_count() or 1
    root.mkdir(parents=True, exist_ok=True)
    _claim(study, root)
    _make_untrained_models(study, root)
    _make_data(study, root, jobs)
    _train_bases(study, root, jobs)
    _run_arms(study, root, jobs)
    results = collect(study, root)
    write_json(root / "results.json", results.to_dict())
    return results


def example(instance: Instance, perception_only: bool = False) -> dict[str, object]:
    """A task's instance as a row that the SFT collator reads."""
    response = instance.segments[0]["text"] if perception_only else instance.response
    return {
        "index": instance.index,
        "image": instance.image,
        "prompt": [{"role": "user", "content": instance.query}],
        "completion": [{"role": "assistant", "content": response}],
    }


def _claim(study: Study, root: Path) -> None:
    path = root / "study.json"
    if path.exists() and Study.load(path) != study:
        raise ValueError(f"{root} holds a study with other settings; choose another --name")
    study.save(path)


def _make_untrained_models(study: Study, root: Path) -> None:
    """Random weights, with pixels standardised by training images."""
    task = get_task(study.task, **study.task_options)
    images = [task.generate(index, "train", 0).image for index in range(64)]
    for seed in study.seeds:
        path = root / f"seed{seed}" / "untrained"
        if not (path / "processor_config.json").exists():
            options = {"image_size": images[0].width, **study.model_options}
            build_tiny_vlm(
                path,
                task.vocabulary(),
                pixel_stats=pixel_statistics(images),
                seed=seed,
                **options,
            )


@dataclass(frozen=True)
class _Shard:
    """A part of the training data that one process makes."""

    path: Path
    study: Path  # its directory
    seed: int  # of the instances
    start: int
    size: int
    perception_only: bool

    def make(self) -> int:
        torch.set_num_threads(1)
        study = Study.load(self.study / "study.json")
        task = get_task(study.task, **study.task_options)
        processor = load_processor(self.study / f"seed{study.seeds[0]}" / "untrained")
        indices = range(self.start, self.start + self.size)
        rows = (
            example(task.generate(index, "train", self.seed), self.perception_only)
            for index in indices
        )
        encoded = encode_examples(rows, SegmentCollator(processor, Tags()))
        encoded.save(self.path.with_suffix(".partial"))
        os.replace(self.path.with_suffix(".partial"), self.path)
        return self.size


def _make_data(study: Study, root: Path, jobs: int) -> None:
    """data/base.pt, perceptions alone, and data/train.pt, encoded once for all arms and seeds."""
    folder = root / "data"
    folder.mkdir(exist_ok=True)
    files = {
        folder / "base.pt": (study.base_instances, 1, True),
        folder / "train.pt": (study.train_instances, 0, False),
    }
    shards: dict[Path, list[_Shard]] = {}
    for path, (n, seed, perception_only) in files.items():
        if not path.exists():
            shards[path] = [
                _Shard(
                    path.with_name(f"{path.stem}{start}.shard"),
                    root,
                    seed,
                    start,
                    min(SHARD, n - start),
                    perception_only,
                )
                for start in range(0, n, SHARD)
            ]
    waiting = [shard for parts in shards.values() for shard in parts if not shard.path.exists()]
    total = sum(n for n, _, _ in files.values())
    bar = tqdm(total=total, desc="rendering and encoding", unit="instance", mininterval=_interval())
    bar.update(total - sum(shard.size for shard in waiting))
    with bar, ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        for size in pool.map(_Shard.make, waiting):
            bar.update(size)
    for path, parts in shards.items():
        whole = EncodedDataset.concatenate([EncodedDataset.load(part.path) for part in parts])
        whole.save(path.with_suffix(".partial"))
        os.replace(path.with_suffix(".partial"), path)
        for part in parts:
            part.path.unlink()


@dataclass
class _Running:
    arm: str
    seed: int
    process: subprocess.Popen[bytes]
    directory: Path

    def label(self) -> str:
        return f"{self.arm}, seed {self.seed}"

    def steps(self) -> int:
        """Steps done, by its own account."""
        try:
            return int(json.loads((self.directory / "progress.json").read_text())["step"])
        except (OSError, ValueError):
            return 0

    def tail(self, lines: int = 8) -> str:
        """Its last words."""
        log = (self.directory / "log.txt").read_text(errors="replace")
        return "\n".join(log.splitlines()[-lines:])


def _train_bases(study: Study, root: Path, jobs: int) -> None:
    """The common start of every seed's arms."""
    waiting = [(BASE, s) for s in study.seeds if not (root / f"seed{s}" / "initial").exists()]
    _run_all(root, waiting, len(study.seeds), study.base_steps, jobs, "teaching to see a little")


def _run_arms(study: Study, root: Path, jobs: int) -> None:
    """Every arm with every seed; the slow ones first, so that no core idles at the end."""
    slow_first = sorted(study.arms, key=lambda arm: arm.balance != "ngdiff")
    waiting = [
        (arm.name, seed)
        for arm, seed in product(slow_first, study.seeds)
        if not (run_directory(root, arm.name, seed) / "diagnosis.json").exists()
    ]
    steps = round(study.steps * (1 + DIAGNOSIS_STEPS))
    count = len(study.seeds) * len(study.arms)
    _run_all(root, waiting, count, steps, jobs, "training and diagnosing")


def _run_all(
    root: Path, waiting: list[tuple[str, int]], count: int, steps: int, jobs: int, what: str
) -> None:
    """Run the waiting (arm, seed) pairs out of ``count`` in processes, ``jobs`` at once."""
    total, done = count * steps, (count - len(waiting)) * steps
    running: list[_Running] = []
    failed: list[_Running] = []
    bar = tqdm(total=total, initial=done, desc=what, unit="step", mininterval=_interval())
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(_start(root, *waiting.pop(0), threads=_threads(jobs)))
            time.sleep(0.5)
            for job in [job for job in running if job.process.poll() is not None]:
                running.remove(job)
                if job.process.returncode == 0:
                    done += steps
                    bar.write(f"finished: {job.label()}")
                else:
                    failed.append(job)
                    bar.write(f"FAILED: {job.label()}; see {job.directory / 'log.txt'}")
            bar.set_postfix_str("; ".join(job.label() for job in running), refresh=False)
            bar.update(min(total, done + sum(job.steps() for job in running)) - bar.n)
    except KeyboardInterrupt:
        bar.write("interrupted: start the same command again to go on from the last checkpoints")
        raise
    finally:
        bar.close()
        for job in running:
            job.process.terminate()
    if failed:
        names = "; ".join(job.label() for job in failed)
        raise RuntimeError(f"failed: {names}; the last lines of the first:\n{failed[0].tail()}")


def _interval() -> float:
    """Seconds between updates of a progress bar; a log file needs few."""
    return 0.5 if sys.stderr.isatty() else 30.0


def _threads(jobs: int) -> int:
    return max(1, (os.cpu_count() or 1) // jobs)


def _start(root: Path, arm: str, seed: int, threads: int) -> _Running:
    directory = run_directory(root, arm, seed)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "progress.json").unlink(missing_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with open(directory / "log.txt", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "percbal.study_arm", str(root), arm, str(seed)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    return _Running(arm, seed, process, directory)
