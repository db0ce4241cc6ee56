"""A task's instances as rows for the trainers; a study's training data, encoded once for all."""

from __future__ import annotations

import json
import os
import threading
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import torch
from transformers import ProcessorMixin

from percbal.models.loading import load_processor
from percbal.responses.spans import Tags
from percbal.sft.collate import SegmentCollator
from percbal.sft.encoded import EncodedDataset, encode_examples
from percbal.study import files
from percbal.study.job_pool import progress_bar
from percbal.study.plan import Study
from percbal.tasks import Instance, Task, get_task

SHARD = 1000  # training instances that a process makes at once
FRESH_SEED = 30_000  # of instances that no other run sees, plus the run's seed


def example(instance: Instance, perception_only: bool = False) -> dict[str, object]:
    """An instance as a row that the SFT collator reads."""
    response = instance.segments[0]["text"] if perception_only else instance.response
    return {
        "index": instance.index,
        "image": instance.image,
        "prompt": [{"role": "user", "content": instance.query}],
        "completion": [{"role": "assistant", "content": response}],
    }


def prompt_row(task: Task, instance: Instance, begins_with: str) -> dict[str, Any]:
    """An instance of the task as GRPO and the reward functions read it.

    begins_with: what the response has already, after the query: the tiny model's chat template
        has nothing between the two turns.
    """
    return {
        "prompt": [{"role": "user", "content": f"{instance.query} {begins_with}".strip()}],
        "image": instance.image,
        "perception": instance.perception,
        "answer": instance.answer,
        "grammar": task.grammar,
        "truth": json.dumps(instance.truth),
    }


def fresh(task: Task, n: int, seed: int) -> list[Instance]:
    """Training instances for the runs of a seed alone."""
    return [task.generate(index, "train", FRESH_SEED + seed) for index in range(n)]


def encoded(instances: list[Instance], processor: ProcessorMixin) -> EncodedDataset:
    """For fine-tuning on full responses."""
    return encode_examples(map(example, instances), SegmentCollator(processor, Tags()))


def make_data(study: Study, root: Path, jobs: int) -> None:
    """``files.BASE_DATA`` and ``files.DATA``, in pieces, by ``jobs`` processes."""
    (root / "data").mkdir(exist_ok=True)
    wanted = (
        (root / files.BASE_DATA, study.base.instances, 1, True),
        (root / files.DATA, study.sft.instances, 0, False),
    )
    shards: dict[Path, list[_Shard]] = {}
    for path, n, seed, perception_only in wanted:
        assert n is not None, "what all starts or arms share is made beforehand"
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
    total = sum(n for _, n, _, _ in wanted if n)
    bar = progress_bar(total=total, desc="rendering and encoding", unit="instance")
    bar.update(total - sum(shard.size for shard in waiting))
    with bar, ProcessPoolExecutor(jobs, get_context("spawn"), _end_with_parent) as pool:
        for size in pool.map(_Shard.make, waiting):
            bar.update(size)
    for path, parts in shards.items():
        whole = EncodedDataset.concatenate([EncodedDataset.load(part.path) for part in parts])
        whole.save(path.with_suffix(".partial"))
        os.replace(path.with_suffix(".partial"), path)
        for part in parts:
            part.path.unlink()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@dataclass(frozen=True)
class _Shard:
    """A part of the training data that one process makes."""

    path: Path
    root: Path  # of the study
    seed: int  # of the instances
    start: int
    size: int
    perception_only: bool

    def make(self) -> int:
        torch.set_num_threads(1)
        study = Study.load(self.root / files.STUDY)
        task = get_task(study.task, **study.task_options)
        processor = load_processor(files.untrained(self.root, study.base_seeds()[0]))
        indices = range(self.start, self.start + self.size)
        rows = (
            example(task.generate(index, "train", self.seed), self.perception_only)
            for index in indices
        )
        data = encode_examples(rows, SegmentCollator(processor, Tags()))
        data.save(self.path.with_suffix(".partial"))
        os.replace(self.path.with_suffix(".partial"), self.path)
        return self.size
