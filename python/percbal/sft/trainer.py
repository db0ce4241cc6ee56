"""Supervised fine-tuning in which perception and reasoning tokens are weighed apart.

``BalancedSFTTrainer`` is TRL's ``SFTTrainer`` with another loss,
``lambda * L_p + (1 - lambda) * L_r``, whose token counts are those of the whole accumulated batch
over all ranks. A mean per micro-batch would be another, wrong, loss: segments have unequal
lengths, and the mean of means is not the mean.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
import transformers
from packaging.version import Version
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import PreTrainedModel, ProcessorMixin
from trl import SFTTrainer

from percbal.models.checkpoint import BALANCE_FILE, VLMCheckpoints
from percbal.models.evaluation import MetricsOfEachSet
from percbal.models.finite import FiniteSteps, bad_inputs
from percbal.models.output_head import inner_model, unsupported_head
from percbal.models.refusals import check_arguments
from percbal.objective.balance import Balance
from percbal.segments.names import TWO
from percbal.sft.collate import nothing_to_train_on, of_responses
from percbal.sft.config import BalancedSFTConfig
from percbal.sft.encoded import EncodedDataset, default_collator
from percbal.sft.metrics import SegmentMetrics, without_repeats
from percbal.sft.observed import ObservedSteps
from percbal.sft.order import LengthGroupedSampler
from percbal.sft.padding import agree_on_padding
from percbal.sft.refusals import (
    make_balance,
    refuse_grouping,
    refuse_mixed_data,
    refuse_moving_loss,
    refuse_unsupported,
    refuse_unsupported_setup,
    warn_of_empty,
)
from percbal.sft.segment_gradients import make_segment_gradients
from percbal.sft.segment_head import ForwardPass, SegmentLosses, use_segment_losses
from percbal.sft.segment_losses import each_alone, joined, segment_counts, shifted
from percbal.sft.stock_step import begin_step, empty_cache
from percbal_ops import SegmentOutput


class BalancedSFTTrainer(MetricsOfEachSet, VLMCheckpoints, FiniteSteps, SFTTrainer):
    """``trl.SFTTrainer`` on ``lambda * L_p + (1 - lambda) * L_r``.

    train_dataset, eval_dataset: a ``datasets.Dataset`` with ``prompt``, ``completion``, ``image``
        or ``images``, and optionally ``segments``; or an ``EncodedDataset``. For evaluation also
        several by name, whose metrics are ``eval_<name>_loss_p`` and so on.
    balance: a controller, or ``module:Class`` of one, in place of ``args.balance``. A controller
        has weights of its own, so that ``args.segments`` may give none.
    Other arguments are TRL's. Logged beside TRL's numbers: see docs/train.md.

    Raises ValueError, one sentence, for every option whose combination with a segment loss is
    not supported; NonFiniteError for a gradient that is not finite (``args.on_nonfinite``);
    TypeError for another config, or a tokenizer in place of the processor.
    """

    args: BalancedSFTConfig
    model: PreTrainedModel

    def __init__(
        self,
        model: str | PreTrainedModel,
        args: BalancedSFTConfig,
        *,
        train_dataset: Any,
        eval_dataset: Any = None,
        processing_class: ProcessorMixin,
        data_collator: Any = None,
        balance: Balance | str | None = None,
        **kwargs: Any,
    ) -> None:
        check_arguments(args, BalancedSFTConfig, model, processing_class, kwargs.get("peft_config"))
        self.segments = args.make_segments()
        self.balance = make_balance(args, balance)
        refuse_unsupported(args, self.balance, kwargs)
        ours = data_collator is None
        if ours:
            data_collator = default_collator(args, train_dataset, processing_class)
        args.remove_unused_columns = False  # the collator reads columns that no model knows
        encoded = isinstance(train_dataset, EncodedDataset)
        refuse_mixed_data(self.segments.names, data_collator, train_dataset, eval_dataset)
        refuse_grouping(args, train_dataset)
        refuse_moving_loss(args, self.balance, eval_dataset)
        super().__init__(
            model=model,
            args=args,
            data_collator=data_collator,
            train_dataset=EncodedDataset.stand_in() if encoded else train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            **kwargs,
        )
        if ours:
            agree_on_padding(self.model, processing_class.tokenizer)
        self.train_dataset: Dataset = train_dataset
        refuse_unsupported_setup(self, self.balance)
        if args.chunked_logits:
            self._use_segment_losses()
        self._claim_scaled_loss()
        self._level = self._norm_level()
        self._segment_metrics = SegmentMetrics(self.accelerator, self.segments.names, self._level)
        self._gradients = make_segment_gradients(
            self.accelerator, len(self.segments), by_parts=self.balance.compares_parts
        )
        self._observed = ObservedSteps(
            self.balance, self.segments.names, self.accelerator, self._level
        )
        self._counts: Tensor | None = None  # (S,) over the accumulated batch and all ranks
        self._parts_of_step = 0  # of the accumulated batch
        self._exact = False  # whether its gradients are kept apart

    def _use_segment_losses(self) -> None:
        model = inner_model(self.accelerator, self.model)
        if (reason := unsupported_head(model)) is not None:
            raise ValueError(f"chunked_logits=True is not possible: {reason}")
        use_segment_losses(model)

    def _norm_level(self) -> str:
        """What the norms that cost nothing are the gradients with respect to."""
        wanted = self.balance.stand_in
        if not self.args.chunked_logits or wanted is None:
            return "logits"
        head = inner_model(self.accelerator, self.model).get_output_embeddings()
        return "head" if wanted == "head" or head.weight.requires_grad else "logits"

    def _claim_scaled_loss(self) -> None:
        """Tell the Trainer not to divide by the accumulation steps: our counts cover them."""
        if Version(transformers.__version__) >= Version("5.19.0.dev0"):
            self.loss_is_scaled_for_ga = True  # type: ignore[assignment]
        else:
            self.model_accepts_loss_kwargs = True

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        grouped = self.args.train_sampling_strategy == "group_by_length"
        if not (grouped and isinstance(dataset, EncodedDataset)):
            return super()._get_train_sampler(train_dataset)
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return LengthGroupedSampler(dataset.lengths(), batch * self.args.world_size, seed)

    # --- counts of the whole accumulated batch -------------------------------------------------

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        counts = torch.zeros(len(self.segments), dtype=torch.int64, device=device)
        for batch in batches:
            counts += self._counts_of(batch).to(device)
        first = self._counts is None  # of the run: looking makes the host wait
        if first:
            self._observed.remember()
        self._counts = self.accelerator.reduce(counts, "sum")
        self._parts_of_step = len(batches)
        self._exact = self.balance.needs_gradient_norms and self.balance.due(self._counts)
        if first and batches and not of_responses(self._counts, self.segments.prompt).any():
            which = "all rows of the first batch"
            raise ValueError(nothing_to_train_on(which, self.args.max_length, self.segments.prompt))
        if first and self.segments.names != TWO.names:
            warn_of_empty(self.segments.names, self._counts.tolist())
        # a count, where the model class gives none, keeps the Trainer from dividing again
        return batches, self._counts.sum() if items is None else items

    def _counts_of(self, batch: dict[str, Any]) -> Tensor:
        return segment_counts(batch["labels"], batch["segment_ids"], len(self.segments))

    # --- loss ----------------------------------------------------------------------------------

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        training = self.model.training
        if training:
            self._remember(inputs)
        counts = self._counts if training else None
        if counts is None:
            counts = self._counts_of(inputs)
        target, segment_ids = shifted(inputs)
        # an evaluation's norms are not read, and those of the logits cost nothing
        level = self._level if training else "logits"
        # ranks' gradients are averaged, and the counts already run over all ranks
        scale = self.accelerator.num_processes if training else 1
        losses = SegmentLosses(segment_ids, counts, [], level, scale)
        if training and self.balance.observes and self._parts_of_step == 1:
            passed, result, weights = self._weighed_by_itself(model, inputs, target, losses)
        else:
            weights = self.balance.weights(counts)
            losses.asked = [(target, weights)]
            passed = self._forward(model, inputs, losses)
            result = passed.loss(0)
            if training and self.balance.observes:
                self._observe(result)
        self._record(inputs, passed.logits, target, segment_ids, result, weights, counts)
        return (result.loss, passed.outputs) if return_outputs else result.loss

    def _forward(
        self, model: nn.Module, inputs: dict[str, Any], losses: SegmentLosses
    ) -> ForwardPass:
        fields = {k: v for k, v in inputs.items() if k not in ("labels", "segment_ids")}
        if self.args.chunked_logits:
            fields["segment_losses"] = losses
        try:
            return ForwardPass(losses, model(**fields, use_cache=False))
        except ValueError as error:
            if self.args.max_length is None or "image tokens do not match" not in str(error):
                raise
            raise ValueError(
                f"max_length={self.args.max_length} cuts image tokens off, while the image stays "
                "whole; increase it, or leave it out to cut nothing"
            ) from error

    def _record(
        self,
        inputs: dict[str, Any],
        logits: Tensor | None,
        target: Tensor,
        segment_ids: Tensor,
        result: SegmentOutput,
        weights: Tensor,
        counts: Tensor,
    ) -> None:
        mode = "train" if self.model.training else "eval"
        self._segment_metrics.add_batch(mode, result, counts, inputs["attention_mask"])
        if logits is not None:
            self._segment_metrics.add_top_one(mode, logits.detach(), target, segment_ids)
        if mode == "train" and self.accelerator.sync_gradients:
            self._segment_metrics.add_step(weights, counts)

    def prediction_step(
        self, model: nn.Module, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None
    ) -> Any:
        loss_only = prediction_loss_only or self.args.chunked_logits  # there are no logits
        inputs = without_repeats(inputs, self.accelerator)
        return super().prediction_step(model, inputs, loss_only, ignore_keys)

    # --- controllers that learn from steps -------------------------------------------------------

    def _observe(self, result: SegmentOutput, *norms: Tensor | None) -> None:
        assert self._counts is not None
        self._observed.add(result, self.state.global_step, self._counts, *norms)

    def _settle(self, finite: bool) -> None:
        self._observed.settle(finite)

    def _forget_step(self) -> None:
        super()._forget_step()
        self._gradients.reset()
        self._segment_metrics.forget("train")
        self._observed.begin(settled=not self.is_deepspeed_enabled)
        self._counts = None

    def _weighed_by_itself(
        self, model: nn.Module, inputs: dict[str, Any], target: Tensor, losses: SegmentLosses
    ) -> tuple[ForwardPass, SegmentOutput, Tensor]:
        """The loss of a step of one micro-batch, which the controller sees before it weighs it.

        Whole logits are looked at once more for that, without a gradient. In chunks each
        segment's loss is computed alone, and its gradient scaled as it goes back.
        """
        counts = losses.counts
        alone = self.args.chunked_logits
        losses.asked = [(target, torch.ones_like(counts, dtype=torch.float32))]
        if alone:
            losses.asked = each_alone(target, losses.segment_ids, len(counts))
        passed = self._forward(model, inputs, losses)
        if alone:
            result = joined([passed.loss(i) for i in range(len(counts))])
            self._observe(result)
            weights = self.balance.weights(counts)
            return passed, result._replace(loss=(weights * result.loss).sum()), weights
        with torch.no_grad():
            self._observe(passed.loss(0))
        weights = self.balance.weights(counts)
        losses.asked = [(target, weights)]
        return passed, passed.loss(0), weights

    # gradients that are kept apart until their norms are known
    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> Tensor:
        if not self._exact:
            return super().training_step(model, inputs, num_items_in_batch)
        assert self._counts is not None
        inputs = begin_step(self, model, inputs)
        self._remember(inputs)
        counts = self._counts
        target, segment_ids = shifted(inputs)
        asked = each_alone(target, segment_ids, len(counts))
        alone = SegmentLosses(segment_ids, counts, asked, self._level, self._gradients.loss_scale)
        with self.maybe_activation_offload_context, self.compute_loss_context_manager():
            passed, results = self._gradients.backward(
                model,
                lambda: empty_cache(self, self._forward(model, inputs, alone)),
                lambda passed, segment: passed.loss(segment),
            )
        result, norms, pairs = joined(results), None, None
        if self.accelerator.sync_gradients:
            norms = self._gradients.reduce()
            self._segment_metrics.add_gradient_norms(norms)
            if (parts := self._gradients.parts) is not None:
                pairs = parts.take(norms)
        self._observe(result, norms, pairs)
        weights = self.balance.weights(counts)
        self._record(inputs, passed.logits, target, segment_ids, result, weights, counts)
        if self.accelerator.sync_gradients:
            losses = self._gradients.combine(weights)
            return (weights * losses).sum() * self.accelerator.num_processes
        return torch.zeros((), device=counts.device)  # the last micro-batch reports for all

    def _not_finite_in(self, inputs: dict[str, Any]) -> tuple[str, list[int]] | None:
        """Large values are finite, and what the model makes of them need not be."""
        found = bad_inputs(inputs)
        fields = {k: v for k, v in inputs.items() if k not in ("labels", "segment_ids")}
        # by every rank alike, as sharded parameters are gathered in it; DDP's wrapper, whose
        # collectives other ranks may have left, is not asked
        with torch.no_grad(), self.compute_loss_context_manager():
            logits = self.model(**fields, use_cache=False).logits  # (B, T, V)
        bad = ~logits.isfinite().all(-1) & inputs["attention_mask"].bool()
        rows = bad.any(1).nonzero().flatten().tolist()
        if found is None:
            return ("the logits", rows) if rows else None
        return found[0], found[1] or rows

    # --- logs ----------------------------------------------------------------------------------

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if self.model.training:
            for name, value in self._segment_metrics.drain("train").items():
                self._metrics["train"][name].append(value)
        super().log(logs, start_time)

    def _drain_evaluation(self) -> dict[str, float]:
        return self._segment_metrics.drain("eval")

    def _forget_evaluation(self) -> None:
        self._segment_metrics.forget("eval")

    @cached_property
    def _parameters_for_flos(self) -> int:
        return self.model.num_parameters(exclude_embeddings=True)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        # the Trainer's own walks over all modules at every step
        return 6 * inputs["input_ids"].numel() * self._parameters_for_flos

    # --- checkpoints ---------------------------------------------------------------------------

    def _controller(self) -> tuple[Any, str]:
        return self.balance, BALANCE_FILE

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        self._observed.remember()
