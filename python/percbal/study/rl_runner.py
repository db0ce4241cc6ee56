"""The experiment in reinforcement learning: starts, arms in parallel processes, and the table.

Everything lies in one directory and is made in steps that are skipped when already done, so that
an interrupted study goes on where it stopped when it is started again.
"""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path

from percbal.study.arm import write_json
from percbal.study.job_pool import Job, run_jobs
from percbal.study.rl_arm import arm_directory
from percbal.study.rl_limits import limits
from percbal.study.rl_presets import RLStudy
from percbal.study.rl_results import RLResults, collect
from percbal.study.runner import run_study


def run_rl_study(study: RLStudy, root: Path, *, jobs: int | None = None) -> RLResults:
    """Run what is missing of a study in ``root``; return its results.

    jobs: processes at once, one thread each; default one per core. Raises RuntimeError naming the
    arms that failed, once the others are done; ValueError if ``root`` holds another study.
    """
    jobs = jobs or os.cpu_count() or 1
    root.mkdir(parents=True, exist_ok=True)
    path = root / "study.json"
    if path.exists() and RLStudy.load(path) != study:
        raise ValueError(f"{root} holds a study with other settings; choose another --name")
    study.save(path)
    run_study(study.starts, root / "starts", jobs=jobs)
    starts = [arm.name for arm in study.starts.arms]
    # seed by seed: an interrupted study has whole comparisons
    wanted = [(start, "start", study.seeds[0]) for start in starts]
    wanted += [
        (start, arm.name, seed) for seed, start, arm in product(study.seeds, starts, study.arms)
    ]
    waiting = [
        Job(
            f"{arm} from {start}, seed {seed}",
            ["-m", "percbal.study.rl_arm", str(root), start, arm, str(seed)],
            arm_directory(root, start, arm, seed),
        )
        for start, arm, seed in wanted
        if not (arm_directory(root, start, arm, seed) / "evaluation.json").exists()
    ]
    try:
        run_jobs(
            waiting,
            finished=len(wanted) - len(waiting),
            steps=study.updates,
            at_once=jobs,
            what="updating and evaluating",
        )
    finally:
        results = write_results(study, root)
    return results


def write_results(study: RLStudy, root: Path) -> RLResults:
    """Collect what is there into results.json and results.md."""
    results = collect(study, root)
    write_json(root / "results.json", results.to_dict())
    sections = (results.table(), results.note(), limits(study, results))
    (root / "results.md").write_text("\n\n".join(filter(None, sections)) + "\n")
    return results
