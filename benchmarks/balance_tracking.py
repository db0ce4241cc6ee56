"""How closely each controller of the balance follows the exact one, and what a step costs.

    python benchmarks/balance_tracking.py --out runs/tracking          # 90 minutes on one core
    python benchmarks/balance_tracking.py --out runs/smoke --smoke     # to see that it runs
    python benchmarks/balance_tracking.py --out runs/tracking --time   # seconds per step, in turns

The tiny model of the studies (docs/study.md), from a base that sees a little, is fine-tuned with
each controller. At every fifth step the exact norms are taken at the same weights and batch, by a
backward pass for each segment beside the training. results/balance_tracking.csv has a line for each
run: how far the controller's lambda was from the exact one in log-odds after the first tenth of the
steps, and what the model is worth at the end. Goes on where it stopped. docs/balance.md says what
was expected, and found.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RESULTS

from percbal.models.loading import load_vlm
from percbal.models.tiny import build_tiny_vlm, pixel_statistics
from percbal.sft.encoded import EncodedDataset
from percbal.sft.trainer import BalancedSFTTrainer
from percbal.study import files, training
from percbal.study.data import make_data
from percbal.study.plan import NEW, SFT, Arm, Study, folder
from percbal.study.presets import PICTURES, SMOKE, bases
from percbal.study.run import measure, run_base
from percbal.tasks import get_task

SEEDS = (71, 72, 73)
CELLS = {  # perception's share of the tokens, by how much of the reasoning is written down
    "sudoku, 10%": {"verbosity": 2},
    "sudoku, 4.5%": {"verbosity": 3},
}
CONTROLLERS = {
    "ngdiff": {"balance": "ngdiff"},
    "calibrated, chunked": {"balance": "calibrated", "chunked_logits": True},
    "calibrated": {"balance": "calibrated"},
    "head, chunked": {"balance": "head", "chunked_logits": True},
}
TRACKED = 5  # steps from one look at the exact norms to the next
SIZES = {False: (300, 256), True: (16, 8)}  # smoke or not: steps, test instances


def cell(name: str, smoke: bool) -> Study:
    """What all runs of a task have in common."""
    steps, instances = SIZES[smoke]
    small: dict[str, Any] = {"model_options": SMOKE.model_options} if smoke else {}
    return Study(
        name=name,
        about="",
        starts=bases(*SEEDS),
        arms=(Arm("any"),),
        sft=SFT(steps, 32, 12 * steps),
        base=SMOKE.base if smoke else SFT(300, 64, 4_000),
        task_options=PICTURES | CELLS[name],
        test_instances=instances,
        **small,
    )


class TrackedTrainer(BalancedSFTTrainer):
    """Looks at the exact norms beside the training, and writes down what is in use."""

    track: Path

    def _observe(self, result: Any, *norms: Any) -> None:
        self.shown = result.segment_grad_norm.tolist()
        super()._observe(result, *norms)

    def training_step(self, model: Any, inputs: Any, *rest: Any) -> torch.Tensor:
        loss = super().training_step(model, inputs, *rest)
        step = self.state.global_step
        if step % TRACKED == 0:
            line = {
                "step": step,
                "exact": exact_norms(self, model, self._prepare_inputs(inputs)),
                "stand_in": self.shown,
                "counts": self._counts.tolist(),
                "lambda": float(self.balance.weights(self._counts)[0]),
                "measured": self._exact,
            }
            with self.track.open("a") as file:
                file.write(json.dumps(line) + "\n")
        return loss


def exact_norms(trainer: Any, model: Any, inputs: Any) -> list[float]:
    """Of both segments' gradients over all parameters, written down without the trainer's way."""
    fields = {k: v for k, v in inputs.items() if k not in ("labels", "segment_ids")}
    logits = trainer.model(**fields, use_cache=False).logits[:, :-1]
    nll = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), inputs["labels"][:, 1:], reduction="none"
    )
    norms = []
    parameters = [p for p in model.parameters() if p.requires_grad]
    for segment in range(len(trainer._counts)):
        mean = nll[inputs["segment_ids"][:, 1:] == segment].mean()
        found = torch.autograd.grad(mean, parameters, retain_graph=True, allow_unused=True)
        norms.append(float(torch.nn.utils.get_total_norm([g for g in found if g is not None])))
    return norms


def prepare(study: Study, root: Path) -> None:
    """Untrained models, data and bases, as far as they are missing."""
    root.mkdir(parents=True, exist_ok=True)
    if not (root / files.STUDY).exists():
        study.save(root / files.STUDY)
    task = get_task(study.task, **study.task_options)
    images = [task.generate(index, "train", 0).image for index in range(64)]
    options = {"image_size": images[0].width, **study.model_options}
    for seed in study.base_seeds():
        path = files.untrained(root, seed)
        if not path.exists():
            statistics = pixel_statistics(images)
            build_tiny_vlm(path, task.vocabulary(), pixel_stats=statistics, seed=seed, **options)
    make_data(study, root, 1)
    for seed in study.base_seeds():
        if not (files.base_directory(root, seed) / files.MODEL).exists():
            run_base(root, seed)


def run(study: Study, root: Path, seed: int, controller: str) -> dict[str, Any]:
    """The line of one run, which is trained if need be."""
    out = root / "runs" / folder(f"{controller} {seed}")
    done, track = out / "line.json", out / "track.jsonl"
    if done.exists():
        return json.loads(done.read_text())
    out.mkdir(parents=True, exist_ok=True)
    model, processor = load_vlm(files.base_directory(root, seed) / files.MODEL)
    data = EncodedDataset.load(root / files.DATA)
    TrackedTrainer.track = track
    training.BalancedSFTTrainer = TrackedTrainer
    arm = Arm(controller, options=CONTROLLERS[controller])
    training.fine_tune(model, processor, data, study.sft, arm, seed, out)
    # a step that an interrupted run made twice counts as it was made last
    seen = {line["step"]: line for line in map(json.loads, track.read_text().splitlines())}
    found = measure(study, model, processor)[NEW].diagnosis
    worth = {name: round(getattr(found, name).value, 4) for name in ("a", "a_p", "a_r")}
    line = tracking(list(seen.values()), study.sft.steps, "chunked" in controller)
    line = {"task": study.name, "controller": controller, "seed": seed} | line | worth
    line["n"] = study.test_instances
    done.write_text(json.dumps(line))
    return line


def tracking(seen: list[dict[str, Any]], steps: int, head: bool) -> dict[str, Any]:
    """How far apart the controller and the exact balance are, after a tenth of the steps."""
    late = [line for line in seen if line["step"] >= steps // 10]
    norms, stand_in, counts = (
        np.array([line[k] for line in late], float) for k in ("exact", "stand_in", "counts")
    )
    exact = np.log(norms[:, 1] / norms[:, 0])
    if not head:
        stand_in *= np.sqrt(counts)
    ratio = np.log(stand_in[:, 1] / stand_in[:, 0])
    lam = np.array([line["lambda"] for line in late])
    error = np.abs(np.log(lam / (1 - lam)) - exact)
    # of what a controller could know that sees the exact norms one look late
    late_by_one = np.abs(np.diff(exact))
    return {
        "share": round(float((counts[:, 0] / counts.sum(1)).mean()), 4),
        "steps": steps,
        "looks": len(late),
        "exact_share": round(float(np.mean([line["measured"] for line in late])), 4),
        "stand_in_over_exact": round(float(np.exp(np.median(exact - ratio))), 3),
        "log_correlation": round(float(np.corrcoef(exact, ratio)[0, 1]), 3),
        "median_error": round(float(np.median(error)), 4),
        "p90_error": round(float(np.quantile(error, 0.9)), 4),
        "from_look_to_look": round(float(np.median(late_by_one)), 4),
        "lambda_first": round(float(1 / (1 + np.exp(-exact[0]))), 3),
        "lambda_last": round(float(1 / (1 + np.exp(-exact[-1]))), 3),
    }


def write(name: str, lines: list[dict[str, Any]]) -> None:
    """A CSV of the results."""
    with (RESULTS / name).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def with_other_seeds(name: str, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Beside those of seeds that were not run now, as the file has them, by seeds."""
    path, seeds = RESULTS / name, {line["seed"] for line in lines}
    rows: list[dict[str, Any]] = []
    if path.exists():
        with path.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if int(row["seed"]) not in seeds]
    return sorted(rows + lines, key=lambda line: int(line["seed"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, choices=SEEDS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    studies = {name: cell(name, args.smoke) for name in CELLS}
    roots = {name: args.out / folder(name) for name in CELLS}
    first = next(iter(CELLS))
    for name in [first] if args.time else CELLS:
        prepare(studies[name], roots[name])
    if args.time:
        from balance_time import in_turns

        lines = in_turns(roots[first], SEEDS[0], rounds=1 if args.smoke else 3)
        for line in lines:
            print(line, flush=True)
        if not args.smoke:
            write("balance_time.csv", lines)
        return
    lines = []
    for seed in args.seeds:
        for name in CELLS:
            for controller in CONTROLLERS:
                lines.append(run(studies[name], roots[name], seed, controller))
                print(lines[-1], flush=True)
                if not args.smoke:
                    write("balance_tracking.csv", with_other_seeds("balance_tracking.csv", lines))


if __name__ == "__main__":
    main()
