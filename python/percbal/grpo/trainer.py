"""GRPO with separate advantages for perception tokens and all others.

``BalancedGRPOTrainer`` is TRL's ``GRPOTrainer`` with other advantages: (B, T) instead of (B,),
from an outcome and a perception reward, by ``percbal.objective.credit``. Sampling, clipping, the
KL term and everything else are TRL's. docs/reinforce.md explains the options.
"""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, ProcessorMixin
from trl import GRPOTrainer

from percbal.data.rows import images_of
from percbal.grpo.advice_said import AdviceSaid
from percbal.grpo.as_sampled import as_sampled
from percbal.grpo.blind_signals import blind_answers, image_dependence
from percbal.grpo.config import BalancedGRPOConfig
from percbal.grpo.coupling_log import CouplingLog, within_group
from percbal.grpo.failures import settle_failures
from percbal.grpo.going_on import GoingOn
from percbal.grpo.guard import guard, without_extremes
from percbal.grpo.learnt import Learnt
from percbal.grpo.logprob_head import use_token_logprob
from percbal.grpo.never_sampled import never_sample_images
from percbal.grpo.prompting import Prompting, without_parts
from percbal.grpo.readable import ReadableFromTheStart, Unreadable
from percbal.grpo.reference import begin_at_policy
from percbal.grpo.refusals import (
    refuse_several_images,
    refuse_split_groups,
    refuse_unmatched_images,
    refuse_unsupported,
)
from percbal.grpo.roles import Columns, RewardRoles
from percbal.grpo.vllm_prompts import VLLMPrompts
from percbal.grpo.vllm_start import starts_below_adapters
from percbal.models.checkpoint import ALPHA_FILE, VLMCheckpoints
from percbal.models.evaluation import MetricsOfEachSet
from percbal.models.finite import FiniteSteps
from percbal.models.output_head import inner_model, unsupported_head
from percbal.models.refusals import check_arguments
from percbal.models.together import refused_together
from percbal.objective.balance import TokenMean
from percbal.objective.credit import (
    NO_PERCEPTION,
    Advantages,
    Credit,
    Scale,
    assign_credit,
    by_segment,
    has_partner,
    perception_keys,
    segment_scale,
    token_advantages,
)
from percbal.responses.formats import count_reasons
from percbal.rewards import EndpointReanswer
from percbal.segments.names import TWO
from percbal.segments.sampled import GeneratedSegments, segment_completions


class BalancedGRPOTrainer(
    Prompting, GoingOn, MetricsOfEachSet, VLMCheckpoints, FiniteSteps, GRPOTrainer
):
    """``trl.GRPOTrainer`` with an outcome reward, a perception reward, and credit by segment.

    reward_funcs: TRL reward functions, or one, ``percbal.rewards`` among them; ``args`` says by
        name which is the outcome, which the perception, and which are only measured.
    train_dataset: conversational ``prompt``, ``image`` or ``images``, and the columns that the
        reward functions read.
    Other arguments are TRL's. Logged beside TRL's numbers: see docs/reinforce.md.

    Raises ValueError, one sentence, for options that do not go together; RewardError where a
    reward function fails while training (``args.on_reward_error``); NonFiniteError for a gradient
    that is not finite (``args.on_nonfinite``); TypeError for another config, or a tokenizer in
    place of the processor.
    """

    args: BalancedGRPOConfig
    model: PreTrainedModel

    def __init__(
        self,
        model: Any,
        reward_funcs: Any,
        args: BalancedGRPOConfig,
        *,
        train_dataset: Any,
        eval_dataset: Any = None,
        processing_class: ProcessorMixin,
        **kwargs: Any,
    ) -> None:
        check_arguments(
            args, BalancedGRPOConfig, model, processing_class, kwargs.get("peft_config")
        )
        refuse_unsupported(args, kwargs)
        alone = callable(reward_funcs) or isinstance(reward_funcs, str)
        functions: list[Any] = [reward_funcs] if alone else list(reward_funcs)  # TRL writes into it
        args = copy.copy(args)  # what this model must not sample is written into it
        never_sample_images(args, processing_class, model)
        with starts_below_adapters(model, kwargs.get("peft_config")):
            super().__init__(
                model=model,
                reward_funcs=functions,
                args=args,
                train_dataset=train_dataset,
                eval_dataset=eval_dataset,
                processing_class=processing_class,
                **kwargs,
            )
        begin_at_policy(self)
        self.alpha = args.make_alpha()
        self.segments, self.balance = args.make_segments(), args.make_balance()
        self._set_up_prompts(args.asking())
        if self.use_vllm:
            self.vllm_generation = VLLMPrompts(self.vllm_generation, processing_class)
        # TRL gathers images on the ranks whose batch has any, and they would wait for the others
        shown_in = {"wandb", "trackio"}.intersection(args.report_to or ())
        self._shows_images = self.log_multimodal and self.log_completions and bool(shown_in)
        self.log_multimodal = False
        self._set_up_rewards(args)
        if args.logprobs == "percbal":
            self._use_token_logprob()
        self._rewards = torch.empty(0)  # (R, F) of the last rollouts of all ranks
        self._segmented: GeneratedSegments | None = None  # the last rollouts of this rank
        self._unreadable = {mode: Unreadable() for mode in ("train", "eval")}
        self._first_batches = ReadableFromTheStart()
        self._batches = 0  # of rollouts, in training and evaluation

    def _forget_step(self) -> None:
        """Nor does a loop begin in the middle of the rollouts that another one has left."""
        super()._forget_step()
        self._step, self._buffered_inputs = 0, None

    def _set_up_rewards(self, args: BalancedGRPOConfig) -> None:
        """Who is rewarded for what, under guard, and whose coupling is followed."""
        self.roles = RewardRoles(
            self.reward_func_names,
            args.roles(),
            args.measured,
            self.reward_weights.tolist(),
            self.alpha.value,
            args.surrogates,
        )
        self._refuse_split_groups(
            evaluates=self.eval_dataset is not None and args.eval_strategy != "no"
        )
        named = list(zip(self.reward_func_names, self.reward_funcs, strict=True))
        self._asks_policy_blindly = any(
            name == "blind_reanswer" and not isinstance(function, EndpointReanswer)
            for name, function in named
        )
        self.reward_funcs = [guard(function, name, args.reward_timeout) for name, function in named]
        self._followed = self.roles.followed()
        self._said = AdviceSaid()
        self._coupling = {
            mode: CouplingLog(
                self._followed,
                has_reasoning=self.roles.roles["true_reasoning"] is not None,
                credit=args.credit if self._is_foretold() else None,
                own_spread=args.scale_rewards == "group",
            )
            for mode in ("train", "eval")
        }

    def _is_foretold(self) -> bool:
        """Whether docs/theory.md has a speed for the rewards, and for how they are divided."""
        return self.roles.is_truth_alone() and self.args.scale_rewards != "none"

    def _refuse_split_groups(self, *, evaluates: bool) -> None:
        processes = self.accelerator.num_processes
        refuse_split_groups(self.args, self.reward_func_names, processes, evaluates=evaluates)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        self._refuse_split_groups(evaluates=True)  # the data may have come with the call
        return super().evaluation_loop(*args, **kwargs)

    def _use_token_logprob(self) -> None:
        for model in (self.model, self.ref_model):
            if model is None:
                continue
            inner = inner_model(self.accelerator, model)
            if (reason := unsupported_head(inner, self.args.cast_lm_head_to_fp32)) is not None:
                raise ValueError(
                    f"logprobs='percbal' is not possible, set logprobs='trl': {reason}"
                )
            use_token_logprob(inner, self.temperature)

    # --- rewards -------------------------------------------------------------------------------

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any
    ) -> Tensor:
        self._segmented = segment_completions(
            self._tokenizer,
            completion_ids_list,
            self.asking.response_format,
            thinking=self._thinking,
            named=self.segments,
        )
        readable = self._as_rewards_read(completions)
        columns = self._label_free_columns(prompts, completion_ids_list)
        if readable is not completions:
            columns["tagged_completions"] = readable
        inputs = [
            {**row, **{name: values[i] for name, values in columns.items()}}
            for i, row in enumerate(inputs)
        ]
        self._log_completion_extra("group", self._group_names(len(prompts)))
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        rewards = without_extremes(rewards)
        settle_failures(self, prompts, completions, rewards)
        self._rewards = rewards
        self.reward_weights = self.roles.weights(self.alpha.value)  # what TRL logs as `reward`
        return rewards

    def _group_names(self, rows: int) -> list[str]:
        """For the saved rollouts, whose prompts may differ in the image alone."""
        self._batches += 1  # one step can sample several batches, and evaluate
        first = self.accelerator.process_index * rows
        numbers = [(first + i) // self._group_size() for i in range(rows)]
        return [f"{self.state.global_step}-{self._batches}-{number}" for number in numbers]

    def _group_size(self) -> int:
        training = self.model.training
        return cast(int, self.num_generations if training else self.num_generations_eval)

    def _label_free_columns(self, prompts: Any, ids: Any) -> dict[str, list[Any]]:
        """Columns that the surrogate rewards read and only the policy can make."""
        columns: dict[str, list[Any]] = {}
        if self._asks_policy_blindly:
            assert self._segmented is not None
            found = blind_answers(
                self,
                prompts,
                ids,
                self._segmented,
                samples=self.args.blind_samples,
                blind_from=self.args.blind_from,
            )
            columns["blind_answers"] = [
                texts and [self.asking.read(text, thinking=thinking) for text in texts]
                for texts, thinking in zip(found, self._thinking, strict=True)
            ]
        if "masked_image_kl" in self.reward_func_names:
            columns["masked_image_kl"] = image_dependence(self, prompts, ids).tolist()
        return columns

    # --- credit --------------------------------------------------------------------------------

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        with refused_together(self.accelerator):
            refuse_unmatched_images(inputs)
            refuse_several_images(inputs, self.processing_class)
            inputs = self._asked_rows(inputs)
        with as_sampled(self):
            batch = super()._generate_and_score_completions(inputs)
            self._check_positions(batch)
        if self._shows_images:
            shown = gather_object([images_of(row) for row in inputs])
            cast(Any, self._logs["images"]).extend(shown)
        assert self._segmented is not None
        mode = "train" if self.model.training else "eval"
        group_size = self._group_size()
        rewards = self.roles.split(self._rewards)
        keys = self._perception_keys()
        advantages = assign_credit(
            cast(Credit, self.args.credit),
            rewards.outcome,
            rewards.perception,
            keys,
            alpha=self.alpha.value,
            group_size=group_size,
            scale=cast(Scale, self.args.scale_rewards),
        )
        rows = len(batch["completion_ids"])
        first = self.accelerator.process_index * rows
        local = Advantages(*(values[first : first + rows] for values in advantages))
        batch["advantages"] = self._per_token(local, batch, mode)
        parse_fail = (keys == NO_PERCEPTION).float().mean()
        self._metrics[mode]["segments/parse_fail"].append(float(parse_fail))
        if self.args.credit == "same_perception":
            compared = has_partner(rewards.outcome, keys, group_size).float().mean()
            self._metrics[mode]["segments/compared"].append(float(compared))
        self._unreadable[mode].add(
            gather_object([count_reasons(self._segmented.readings)]), len(keys)
        )
        if mode == "train":
            self._first_batches.look(float(parse_fail), self._unreadable[mode].last)
        self._record(mode, rewards, group_size)
        return batch

    def _perception_keys(self) -> Tensor:
        """(R,) int64 of all ranks: equal where the perceived texts are."""
        assert self._segmented is not None
        keys = perception_keys(self._segmented.perception)
        return self.accelerator.gather(torch.tensor(keys, device=self.accelerator.device))

    def _per_token(self, advantages: Advantages, batch: dict[str, Any], mode: str) -> Tensor:
        """(B, T), or (B,) where all tokens of a rollout have the same advantage."""
        assert self._segmented is not None
        whole = not by_segment(self.args.credit)
        balanced = not isinstance(self.balance, TokenMean)
        if whole and not balanced:
            return advantages.perception
        segments = [torch.as_tensor(s) for s in self._segmented.segments]
        width, rest = batch["completion_ids"].shape[1], self.segments.rest
        ids = pad_sequence(segments, batch_first=True, padding_value=rest)
        ids = nn.functional.pad(ids, (0, width - ids.shape[1]), value=rest)
        ids = ids.to(batch["completion_ids"].device)
        mask = batch["completion_mask"].bool()
        each = range(len(self.segments))
        counts = torch.stack([(mask & (ids == s)).sum(-1) for s in each], -1)  # (B, S)
        of_all = self.accelerator.reduce(counts.sum(0), "sum")  # (S,) of all ranks
        shares = (of_all / of_all.sum().clamp(min=1)).tolist()
        for name, share in zip(self.segments.names, shares, strict=True):
            if len(shares) > len(TWO) or name == "perception":
                self._metrics[mode][f"segments/{name}_share"].append(share)
        seen = self.segments.id_of("perception")
        if not balanced:
            return token_advantages(advantages, ids, perception=seen)
        if self.args.loss_type not in ("grpo", "sapo"):  # these average each rollout first
            counts = of_all
        weights = self.balance.weights(of_all)
        self._coupling[mode].weigh(weights.tolist(), shares, seen)
        return token_advantages(advantages, ids, segment_scale(weights, counts), seen)

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Any:
        if self.model.training:
            self._remember(inputs)
        return super()._compute_loss(model, inputs)

    # --- logs ----------------------------------------------------------------------------------

    def _record(self, mode: str, rewards: Columns, group_size: int) -> None:
        self._metrics[mode]["alpha"].append(self.alpha.value)
        if rewards.true_perception is not None:
            columns = [self.reward_func_names.index(name) for name in self._followed]
            self._coupling[mode].update(
                self._rewards[:, columns],
                rewards.true_perception,
                rewards.true_reasoning,
                group_size,
            )
        if rewards.perception is not None and mode == "train":
            self.alpha.update(*within_group(rewards.outcome, rewards.perception, group_size))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if self.model.training:
            found = self._drain("train")
            if self.accelerator.is_main_process:
                self._said.look(self._coupling["train"].advice)
            for name, value in found.items():
                self._metrics["train"][name].append(value)
        # TRL keeps its last rollouts, and would write them again if no others come before a log
        saved = self.log_completions
        self.log_completions = saved and bool(self._logs["prompt"])
        if self.log_completions and "wandb" in (self.args.report_to or ()):
            without_parts(self._logs["prompt"])
        if not any(self._logs["images"]):  # a table of texts has no column for them
            cast(Any, self._logs["images"]).clear()
        super().log(logs, start_time)
        self.log_completions = saved
        kept: dict[str, Any] = self._logs
        for rollouts in kept.values():
            rollouts.clear()

    def _drain(self, mode: str) -> dict[str, float]:
        return self._coupling[mode].drain(self.alpha.value) | self._unreadable[mode].drain()

    def _drain_evaluation(self) -> dict[str, float]:
        return self._drain("eval")

    def _forget_evaluation(self) -> None:
        self._drain_evaluation()

    # --- checkpoints ---------------------------------------------------------------------------

    def _controller(self) -> tuple[Any, str]:
        return Learnt(self.alpha, self.balance), ALPHA_FILE
