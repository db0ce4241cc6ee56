"""What the GRPO trainer does not support, said before it trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from percbal.data.lines import BadRow
from percbal.data.rows import Row, check_images, images_of, row_name
from percbal.grpo.config import BalancedGRPOConfig
from percbal.objective.balance import TokenMean
from percbal.objective.credit import by_segment


def refuse_unsupported(args: BalancedGRPOConfig, kwargs: dict[str, Any]) -> None:
    """Raise one sentence for an option that segment advantages do not support."""
    args.check_nonfinite()
    refusals = {
        "multi_objective_aggregation": (
            args.multi_objective_aggregation != "sum_then_normalize",
            "credit says how rewards are combined (normalized is normalize_then_sum)",
        ),
        "tools": (bool(kwargs.get("tools")), "tool results are in no segment"),
        "environment_factory": (
            kwargs.get("environment_factory") is not None,
            "its observations are in no segment",
        ),
        "rollout_func": (
            kwargs.get("rollout_func") is not None,
            "what it adds to a completion is in no segment",
        ),
        "use_liger_kernel": (args.use_liger_kernel, "it was not tried"),
    }
    if args.credit == "normalized":
        refusals[f"scale_rewards={args.scale_rewards!r}"] = (
            args.scale_rewards != "group",
            "it would change nothing, since each reward is scaled in its group and their sum over "
            "the batch",
        )
    balanced = not isinstance(args.make_balance(), TokenMean)
    if balanced:
        refusals |= _of_a_balance(args)
    if by_segment(args.credit) or balanced:
        why = "it needs one advantage per rollout, and segments have their own"
        refusals |= {
            "loss_type='vespo'": (args.loss_type == "vespo", why),
            "loss_type='luspo'": (args.loss_type == "luspo", why),
            "importance_sampling_level='sequence'": (
                args.importance_sampling_level == "sequence",
                why,
            ),
            "off_policy_mask_threshold": (args.off_policy_mask_threshold is not None, why),
        }
    for name, (asked_for, reason) in refusals.items():
        if asked_for:
            raise ValueError(
                f"BalancedGRPOTrainer with credit={args.credit!r} does not support {name}: {reason}"
            )


def _of_a_balance(args: BalancedGRPOConfig) -> dict[str, tuple[bool, str]]:
    """What would give the segments' mean losses other weights than those of the balance."""
    return {
        # segment_scale counts tokens in the whole batch: a micro-batch's own count undoes it
        "loss_type='bnpo'": (
            args.loss_type == "bnpo",
            "it divides by the tokens of each micro-batch, so that segments would not have the "
            "weights of the balance; take loss_type='dapo' or balance='token_mean'",
        ),
        f"top_entropy_quantile={args.top_entropy_quantile:g}": (
            args.top_entropy_quantile < 1,
            "it drops more tokens of one segment than of another after they are counted, so that "
            "segments would not have the weights of the balance; take balance='token_mean'",
        ),
    }


def refuse_unmatched_images(rows: Sequence[Row]) -> None:
    """ValueError for a row whose image parts are not as many as its images; it is named."""
    for i, row in enumerate(rows):
        try:
            check_images(row)
        except BadRow as problem:
            raise ValueError(f"{row_name(row, f'row {i} of the batch')}: {problem}") from None


def refuse_several_images(rows: Sequence[Row], processor: Any) -> None:
    """ValueError for a prompt with several images, where TRL does not say how many there are.

    LLaVA-OneVision's processor counts them (``batch_num_images``), and TRL cannot pass that on.
    """
    names = getattr(getattr(processor, "image_processor", None), "model_input_names", ())
    if "batch_num_images" not in names:
        return
    for i, row in enumerate(rows):
        if (count := len(images_of(row))) > 1:
            raise ValueError(
                f"{row_name(row, f'row {i} of the batch')}: GRPO of a {type(processor).__name__} "
                f"takes one image a prompt, got one with {count}: TRL does not pass on how many "
                "there are"
            )


def refuse_split_groups(
    args: BalancedGRPOConfig, names: list[str], processes: int, *, evaluates: bool = False
) -> None:
    """A reward function sees the rollouts of its own process; agreement needs whole groups.

    evaluates: whether the batches of evaluation are looked at, too.
    """
    if "group_agreement" not in names or processes == 1:
        return
    rollouts = args.per_device_train_batch_size * (args.steps_per_generation or 1)
    if rollouts % (args.num_generations or 1):
        raise ValueError(
            f"group_agreement needs whole groups on each process: {rollouts} rollouts per process "
            f"are no multiple of num_generations={args.num_generations}"
        )
    size = args.num_generations_eval or args.num_generations or 1
    if evaluates and args.per_device_eval_batch_size % size:
        option = "num_generations_eval" if args.num_generations_eval else "num_generations"
        raise ValueError(
            "group_agreement needs whole groups on each process: per_device_eval_batch_size="
            f"{args.per_device_eval_batch_size} is no multiple of {option}={size}"
        )
