"""What the SFT trainer does not support, said before it trains."""

from __future__ import annotations

import logging
from typing import Any

import torch
from accelerate.utils import DynamoBackend
from trl import SFTConfig, SFTTrainer

from percbal.objective.balance import Balance, refuse_lam
from percbal.objective.controllers import refuse_unread
from percbal.segments.names import TWO
from percbal.sft.collate import SegmentCollator
from percbal.sft.config import BalancedSFTConfig
from percbal.sft.encoded import EncodedDataset

log = logging.getLogger(__name__)


def make_balance(args: BalancedSFTConfig, given: Any) -> Balance:
    """The controller that was given, or the one that a name or the options describe.

    Raises ValueError, one sentence, for a class in place of a controller, for weights in the
    option `segments`, `lam` and options of a rule that a given controller would not heed, and for
    another number of weights than of segments.
    """
    segments = args.make_segments()
    if isinstance(given, type) and issubclass(given, Balance):
        raise ValueError(f"balance must be a controller, got its class: {given.__name__}()")
    if isinstance(given, Balance):
        segments.refuse_weights("the balance that was given has weights of its own")
        refuse_lam(args, "the balance that was given has weights of its own")
        refuse_unread(Balance, args, "the balance that was given")
        made = given
    else:
        made = args.make_balance(given)
    found = tuple(made.weights(torch.ones(len(segments), dtype=torch.int64)).shape)
    if found != (len(segments),):
        raise ValueError(
            f"{_name(made)} gives weights of the shape {found}, and the segments are "
            f"{', '.join(segments.names)}"
        )
    return made


def refuse_unsupported(args: BalancedSFTConfig, balance: Balance, kwargs: dict[str, Any]) -> None:
    """Raise one sentence for an option that the segment loss does not support."""
    args.check_nonfinite()
    refusals = {
        "packing": (args.packing or bool(args.eval_packing), "it drops the segment of each token"),
        "padding_free": (args.padding_free, "it drops the segment of each token"),
        "use_liger_kernel": (args.use_liger_kernel, "Liger replaces the loss"),
        "assistant_only_loss": (args.assistant_only_loss, "only completions have segments"),
        "completion_only_loss=False": (
            args.completion_only_loss is False,
            "only completions have segments",
        ),
        "label_smoothing_factor": (args.label_smoothing_factor > 0, "it is another loss"),
        f"loss_type={args.loss_type!r}": (args.loss_type != "nll", "it is another loss"),
        "compute_loss_func": (kwargs.get("compute_loss_func") is not None, "it is another loss"),
        "formatting_func": (kwargs.get("formatting_func") is not None, "only raw columns are read"),
    }
    if args.chunked_logits:
        refusals["compute_metrics with chunked_logits"] = (
            kwargs.get("compute_metrics") is not None,
            "there are no logits to compute them from",
        )
    for name, (asked_for, why) in refusals.items():
        if asked_for:
            raise ValueError(f"BalancedSFTTrainer does not support {name}: {why}")
    if balance.stand_in == "head" and not args.chunked_logits:
        raise ValueError(
            f"{_name(balance)} needs chunked_logits, where each segment's gradient of the output "
            "head is seen alone"
        )
    if balance.needs_gradient_norms:
        _refuse_for_norms(args, _name(balance))


def refuse_mixed_data(names: tuple[str, ...], collator: Any, data: Any, held_out: Any) -> None:
    """Raise one sentence for data encoded on one side alone, or with other segments than ``names``.

    held_out: as the trainer takes it, one data set or several by name.
    """
    others = list(held_out.values()) if isinstance(held_out, dict) else [held_out]
    for other in others:
        encoded = isinstance(other, EncodedDataset)
        if other is not None and encoded != isinstance(data, EncodedDataset):
            raise ValueError(
                "train_dataset and eval_dataset must both be an EncodedDataset or neither, got "
                f"{type(data).__name__} and {type(other).__name__}"
            )
    for source in (collator, data, *others):
        if isinstance(source, SegmentCollator):
            theirs = source.segments.names
        elif isinstance(source, EncodedDataset):
            theirs = source.segments
        else:
            continue
        if theirs != names:
            raise ValueError(
                f"the {type(source).__name__} has the segments {', '.join(theirs)}, the options "
                f"{', '.join(names)}"
            )


def refuse_grouping(args: BalancedSFTConfig, data: Any) -> None:
    """Raise one sentence where rows of unknown lengths would be grouped by their lengths.

    data: as the trainer takes it.
    """
    if args.train_sampling_strategy != "group_by_length" or isinstance(data, EncodedDataset):
        return
    if args.length_column_name in (getattr(data, "column_names", None) or ()):
        return
    raise ValueError(
        "train_sampling_strategy='group_by_length' needs the lengths of all rows, which are known "
        "only of data of percbal.encode_examples (an EncodedDataset) or of a column "
        f"{args.length_column_name!r}; set it to random"
    )


def refuse_moving_loss(args: BalancedSFTConfig, balance: Balance, held_out: Any) -> None:
    """Raise one sentence where checkpoints or learning rates would be chosen by a weighted loss
    whose weights move: it falls where they go to the segment that is learnt already.

    held_out: as the trainer takes it, one data set or several by name.
    """
    sets = list(held_out) if isinstance(held_out, dict) else []
    metric = (args.metric_for_best_model or "").removeprefix("eval_")
    if not balance.observes or metric not in ("loss", *(f"{name}_loss" for name in sets)):
        return
    if sets and metric == "loss":  # of which set is for the user to say
        metric = f"{sets[0]}_loss"
    segments = args.make_segments().names
    names = ("p", "r") if segments == TWO.names else segments
    raise ValueError(
        f"metric_for_best_model={args.metric_for_best_model!r} compares losses of different "
        f"weights, since {_name(balance)} moves them in training: set it to "
        + " or ".join(f"eval_{metric}_{name}" for name in names)
    )


def warn_of_empty(names: tuple[str, ...], counts: list[int]) -> None:
    """Say which segments have no token in the first batch: they may be marked otherwise."""
    empty = [name for name, count in zip(names, counts, strict=True) if not count]
    if empty:
        log.warning(
            "no token of the first batch is %s: without tokens a segment's weight is lost (percbal "
            "data check --segments counts them)",
            " or ".join(empty),
        )


def warn_of_unknown(names: tuple[str, ...], unknown: list[int], steps: int) -> None:
    """Say which segments a balance that compares parts has learnt nothing of."""
    if unknown:
        log.warning(
            "%s has had tokens in fewer than two parts of each of %d steps, so that the balance "
            "has learnt nothing of it: take more rows in a step, or another balance",
            " and ".join(names[s] for s in unknown),
            steps,
        )


def _name(balance: Balance) -> str:
    return f"balance={getattr(balance, 'name', type(balance).__name__)!r}"


def _refuse_for_norms(args: SFTConfig, name: str) -> None:
    if args.fp16:
        raise ValueError(
            f"{name} does not support fp16: its loss scaler sees one gradient; use bf16"
        )
    checkpointing = args.gradient_checkpointing_kwargs
    if (
        args.gradient_checkpointing
        and isinstance(checkpointing, dict)
        and checkpointing.get("use_reentrant")
    ):
        raise ValueError(
            f"{name} does not support reentrant gradient checkpointing: it allows one backward "
            "pass; set use_reentrant to false"
        )
    optimizer = str(getattr(args.optim, "value", args.optim))
    if optimizer.endswith("layerwise") or optimizer in ("lomo", "adalomo"):
        raise ValueError(
            f"{name} does not support optim={optimizer}: it steps within each backward pass, "
            "before the weights of the segments are known"
        )


def _refuse_shared_graph(trainer: Any, name: str) -> None:
    """Options that allow one backward pass through a forward pass, as FSDP2 has it anyway."""
    if trainer.args.activation_offloading:
        raise ValueError(
            f"{name} does not support activation_offloading: it frees what a forward pass has "
            "saved in the first of several backward passes; use FSDP2, or gradient_checkpointing"
        )
    backend = trainer.accelerator.state.dynamo_plugin.backend  # also from accelerate's own config
    if trainer.args.torch_compile or backend != DynamoBackend.NO:
        # it works only if no plain backward pass of the same graph has been compiled, or cached
        raise ValueError(
            f"{name} does not support torch_compile: a compiled backward pass may use what its "
            "forward pass has saved as its own memory, so that there is no second one; use FSDP2"
        )


def refuse_unsupported_setup(trainer: SFTTrainer, balance: Balance) -> None:
    """The same for what is known only once TRL has set up the accelerator and the model."""
    parallelism = trainer.accelerator.parallelism_config
    for kind in ("cp", "sp", "tp"):
        if parallelism is not None and getattr(parallelism, f"{kind}_enabled"):
            raise ValueError(
                f"BalancedSFTTrainer does not support {kind}_size > 1: it would split a sequence "
                "without its segments"
            )
    if trainer.aux_loss_enabled:
        raise ValueError(
            "BalancedSFTTrainer does not support the auxiliary loss of mixture-of-experts models; "
            "set router_aux_loss_coef=0.0"
        )
    if not balance.needs_gradient_norms:
        return
    together = trainer.accelerator.is_fsdp2  # all ranks' micro-batches are then one part
    ranks = 1 if together else trainer.accelerator.num_processes
    if balance.compares_parts and trainer.args.gradient_accumulation_steps * ranks < 2:
        raise ValueError(
            f"{_name(balance)} compares the micro-batches of a step, and there is one: set "
            "gradient_accumulation_steps to 2 or more"
        )
    if trainer.is_deepspeed_enabled:
        raise ValueError(
            f"{_name(balance)} does not support DeepSpeed, which keeps only one gradient; use "
            "FSDP2 or DDP, or balance='fixed'"
        )
    if trainer.is_fsdp_enabled and not trainer.accelerator.is_fsdp2:
        raise ValueError(
            f"{_name(balance)} does not support FSDP 1: a second backward pass through its flat "
            "parameters is wrong; set fsdp_version to 2"
        )
    if not together:
        _refuse_shared_graph(trainer, _name(balance))
