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
from percbal.presets import Study
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
    _make_initial_models(study, root)
    _make_data(study, root, jobs)
    _run_arms(study, root, jobs)
    results = collect(study, root)
    write_json(root / "results.json", results.to_dict())
    return results


def example(instance: Instance) -> dict[str, object]:
    """A task's instance as a row that the SFT collator reads."""
    return {
        "index": instance.index,
        "image": instance.image,
        "prompt": [{"role": "user", "content": instance.query}],
        "completion": [{"role": "assistant", "content": instance.response}],
    }


def _claim(study: Study, root: Path) -> None:
    path = root / "study.json"
    if path.exists() and Study.load(path) != study:
        raise ValueError(f"{root} holds a study with other settings; choose another --name")
    study.save(path)


def _make_initial_models(study: Study, root: Path) -> None:
    """The weights every arm of a seed starts from, with pixels standardised by training images."""
    task = get_task(study.task, **study.task_options)
    images = [task.generate(index, "train", 0).image for index in range(64)]
    for seed in study.seeds:
        path = root / f"seed{seed}" / "initial"
        if not (path / "processor_config.json").exists():
            options = {"image_size": images[0].width, **study.model_options}
            build_tiny_vlm(
                path,
                task.vocabulary(),
                pixel_stats=pixel_statistics(images),
                seed=seed,
                **options,
            )


def _make_data(study: Study, root: Path, jobs: int) -> None:
    """data/train.pt: the training instances, encoded once for all arms."""
    path = root / "data" / "train.pt"
    if path.exists():
        return
    path.parent.mkdir(exist_ok=True)
    starts = range(0, study.train_instances, SHARD)
    sizes = [min(SHARD, study.train_instances - start) for start in starts]
    shards = [path.with_name(f"shard{start}.pt") for start in starts]
    work = [
        (shard, str(root), start, size)
        for shard, start, size in zip(shards, starts, sizes, strict=True)
        if not shard.exists()
    ]
    bar = tqdm(total=study.train_instances, desc="rendering and encoding", unit="instance")
    bar.update(study.train_instances - sum(item[3] for item in work))
    with bar, ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        for size in pool.map(_encode_shard, *zip(*work, strict=True)) if work else ():
            bar.update(size)
    whole = EncodedDataset.concatenate([EncodedDataset.load(shard) for shard in shards])
    whole.save(path.with_suffix(".partial"))
    os.replace(path.with_suffix(".partial"), path)
    for shard in shards:
        shard.unlink()


def _encode_shard(shard: Path, root: str, start: int, size: int) -> int:
    torch.set_num_threads(1)
    study = Study.load(Path(root) / "study.json")
    task = get_task(study.task, **study.task_options)
    processor = load_processor(Path(root) / f"seed{study.seeds[0]}" / "initial")
    instances = (task.generate(index, "train", 0) for index in range(start, start + size))
    encoded = encode_examples(map(example, instances), SegmentCollator(processor, Tags()))
    encoded.save(shard.with_suffix(".partial"))
    os.replace(shard.with_suffix(".partial"), shard)
    return size


@dataclass
class _Running:
    arm: str
    seed: int
    process: subprocess.Popen[bytes]
    directory: Path

    def label(self) -> str:
        return f"{self.arm}, seed {self.seed}"


def _run_arms(study: Study, root: Path, jobs: int) -> None:
    """Every arm with every seed, ``jobs`` at once; seed by seed, so that pairs finish together."""
    waiting = [
        (arm.name, seed)
        for seed, arm in product(study.seeds, study.arms)
        if not (run_directory(root, arm.name, seed) / "diagnosis.json").exists()
    ]
    each = 1 + DIAGNOSIS_STEPS
    total = round(len(study.seeds) * len(study.arms) * each * study.steps)
    done = total - round(len(waiting) * each * study.steps)
    running: list[_Running] = []
    failed: list[_Running] = []
    bar = tqdm(
        total=total,
        initial=done,
        desc="training and diagnosing",
        unit="step",
        mininterval=0.5 if sys.stderr.isatty() else 30,  # a log file needs no moving bar
    )
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(_start(root, *waiting.pop(0), threads=_threads(jobs)))
            time.sleep(0.5)
            for job in [job for job in running if job.process.poll() is not None]:
                running.remove(job)
                if job.process.returncode == 0:
                    done += round(each * study.steps)
                    bar.write(f"finished: {job.label()}")
                else:
                    failed.append(job)
                    bar.write(f"FAILED: {job.label()}; see {job.directory / 'log.txt'}")
            bar.set_postfix_str("; ".join(job.label() for job in running), refresh=False)
            bar.update(min(total, done + sum(_steps(job) for job in running)) - bar.n)
    except KeyboardInterrupt:
        bar.write("interrupted: start the same command again to go on from the last checkpoints")
        raise
    finally:
        bar.close()
        for job in running:
            job.process.terminate()
    if failed:
        names = "; ".join(job.label() for job in failed)
        raise RuntimeError(
            f"arms that failed: {names}; the last lines of the first:\n{_tail(failed[0])}"
        )


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


def _steps(job: _Running) -> int:
    """Steps done by a running job, by its own account."""
    try:
        return int(json.loads((job.directory / "progress.json").read_text())["step"])
    except (OSError, ValueError):
        return 0


def _tail(job: _Running, lines: int = 8) -> str:
    return "\n".join((job.directory / "log.txt").read_text(errors="replace").splitlines()[-lines:])
