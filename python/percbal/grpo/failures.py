"""What a GRPO trainer does when a reward function failed: count it, or stop with nothing lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object
from torch import Tensor

from percbal.grpo.guard import RewardError
from percbal.models.finite import keep_weights
from percbal.responses.prompt import content_text


def settle_failures(trainer: Any, prompts: Any, completions: Any, rewards: Tensor) -> None:
    """Count what was not scored; stop on every rank alike if a function failed on one.

    rewards: (R, F) of the rollouts of all ranks, NaN = not scored. prompts, completions: this
    rank's. Raises RewardError under ``on_reward_error="raise"``, once the rollouts and the weights
    are saved.
    """
    mode = "train" if trainer.model.training else "eval"
    unscored = rewards.isnan().float().mean(0).tolist()
    for name, share in zip(trainer.reward_func_names, unscored, strict=True):
        trainer._metrics[mode][f"rewards/{name}/unscored"].append(share)
    failed = [f for f in trainer.reward_funcs if getattr(f, "problem", None)]
    problems = gather_object([f"{f.__name__} failed: {f.problem}" for f in failed])
    trainer._metrics[mode]["rewards/failed_calls"].append(float(len(problems)))
    if problems and trainer.args.on_reward_error == "raise":
        path = _save_rollouts(trainer, prompts, completions)
        kept = keep_weights(trainer)
        raise RewardError(
            f"reward function {'; '.join(sorted(set(problems)))} after step "
            f"{trainer.state.global_step}; the rollouts are in {path}"
            + (f" and the weights in {kept}" if kept else "")
        ) from (failed[0].error if failed else None)


def _save_rollouts(trainer: Any, prompts: Any, completions: Any) -> str:
    rank = trainer.accelerator.process_index
    name = f"failed_step{trainer.state.global_step:05d}_rank{rank}.jsonl"
    path = Path(str(trainer.args.output_dir)) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        for prompt, completion in zip(prompts, completions, strict=True):
            row = {"prompt": _texts(prompt), "completion": _texts(completion)}
            file.write(json.dumps(row) + "\n")
    return str(path)


def _texts(messages: Any) -> Any:
    """Messages without their images, ready for JSON."""
    if isinstance(messages, str):
        return messages
    return [{"role": m["role"], "content": content_text(m.get("content"))} for m in messages]
