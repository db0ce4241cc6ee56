"""The whole experiment: data, arms in parallel processes, diagnosis, table and report.

Everything lies in one directory and is made in steps that are skipped when already done, so that
an interrupted study goes on where it stopped when it is started again.
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import torch

from percbal.models.loading import load_processor
from percbal.models.tiny import build_tiny_vlm, pixel_statistics
from percbal.responses.spans import Tags
from percbal.sft.collate import EncodedDataset, SegmentCollator, encode_examples
from percbal.study.arm import run_directory, write_json
from percbal.study.job_pool import Job, progress_bar, run_jobs
from percbal.study.presets import BASE, Study
from percbal.study.results import Results, collect
from percbal.tasks import Instance, get_task

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
    bar = progress_bar(total=total, desc="rendering and encoding", unit="instance")
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


def _train_bases(study: Study, root: Path, jobs: int) -> None:
    """The common start of every seed's arms."""
    seeds = [seed for seed in study.seeds if not (root / f"seed{seed}" / "initial").exists()]
    run_jobs(
        [_job(root, BASE, seed) for seed in seeds],
        finished=len(study.seeds) - len(seeds),
        steps=study.base_steps,
        at_once=jobs,
        what="teaching to see a little",
    )


def _run_arms(study: Study, root: Path, jobs: int) -> None:
    """Every arm with every seed; the slow ones first, so that no core idles at the end."""
    slow_first = sorted(study.arms, key=lambda arm: arm.balance != "ngdiff")
    waiting = [
        _job(root, arm.name, seed)
        for arm, seed in product(slow_first, study.seeds)
        if not (run_directory(root, arm.name, seed) / "diagnosis.json").exists()
    ]
    run_jobs(
        waiting,
        finished=len(study.seeds) * len(study.arms) - len(waiting),
        steps=round(study.steps * (1 + DIAGNOSIS_STEPS)),
        at_once=jobs,
        what="training and diagnosing",
    )


def _job(root: Path, arm: str, seed: int) -> Job:
    return Job(
        f"{arm}, seed {seed}",
        ["-m", "percbal.study.arm", str(root), arm, str(seed)],
        run_directory(root, arm, seed),
    )
