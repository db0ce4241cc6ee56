"""Facts about the segment loss in training: what is averaged over what, and by which weights."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
import vlm_fixtures as vlm
from accelerate.utils import DynamoBackend
from trl import SFTConfig, SFTTrainer

from percbal.models.loading import load_vlm
from percbal.objective.balance import Fixed
from percbal.objective.ngdiff import NGDiff
from percbal.objective.unbiased import UnbiasedNGDiff
from percbal.sft.refusals import refuse_unsupported, refuse_unsupported_setup
from percbal.sft.segment_losses import segment_counts
from percbal.sft.trainer import BalancedSFTTrainer

EXAMPLES = [vlm.example_at(i) for i in range(16)]


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    return load_vlm(vlm.tiny_llava(tmp_path_factory.mktemp("llava")))


@pytest.fixture(scope="module")
def qwen():
    return vlm.tiny_qwen()


@pytest.fixture(params=["llava", "qwen"])
def vlm_and_data(request):
    model, processor = request.getfixturevalue(request.param)
    return model, processor, vlm.encoded(processor, EXAMPLES)


def fit(model, processor, data, out, **options):
    trainer = vlm.train(copy.deepcopy(model), processor, data, vlm.config(out, **options))
    return trainer


def split(batch_size: int, steps: int) -> dict[str, int]:
    return {"per_device_train_batch_size": batch_size, "gradient_accumulation_steps": steps}


# --- the whole accumulated batch ---------------------------------------------------------------


def test_the_two_families_disagree_about_loss_arguments(llava, qwen):
    """Trainer's own accumulation is right for one of our fixtures and wrong for the other."""
    assert getattr(llava[0], "accepts_loss_kwargs", None) is not False
    assert qwen[0].accepts_loss_kwargs is False


@pytest.mark.parametrize("balance", ["token_mean", "fixed", "ngdiff"])
def test_eight_at_once_equals_two_times_four(vlm_and_data, balance, tmp_path):
    whole = fit(*vlm_and_data, tmp_path, balance=balance, **split(8, 1))
    parts = fit(*vlm_and_data, tmp_path, balance=balance, **split(2, 4))
    assert vlm.largest_difference(whole.model, vlm_and_data[0]) > 1e-3
    assert vlm.largest_difference(whole.model, parts.model) < 1e-6
    names = ["loss_p", "loss_r", "lambda", "n_p", "n_r", "grad_norm_logits_p", "loss"]
    for name in names + (["grad_norm_p", "grad_norm_r"] if balance == "ngdiff" else []):
        assert vlm.history(whole, name) == pytest.approx(vlm.history(parts, name), rel=1e-5), name


def test_a_mean_per_micro_batch_is_another_loss(vlm_and_data, tmp_path):
    """The mistake that the test above must be able to see."""

    class Naive(BalancedSFTTrainer):
        def compute_loss(self, model, inputs, **kwargs):
            self._counts = segment_counts(inputs["labels"], inputs["segment_ids"])
            return super().compute_loss(model, inputs) / self.args.gradient_accumulation_steps

    model, processor, data = vlm_and_data
    trained = []
    for options in (split(8, 1), split(2, 4)):
        args = vlm.config(tmp_path, balance="fixed", **options)
        trainer = Naive(copy.deepcopy(model), args, train_dataset=data, processing_class=processor)
        trainer.train()
        trained.append(trainer.model)
    assert vlm.largest_difference(*trained) > 1e-4


def test_a_last_incomplete_batch_is_averaged_over_its_own_tokens(llava, tmp_path):
    model, processor = llava
    data = vlm.encoded(processor, EXAMPLES[:6])
    whole = fit(model, processor, data, tmp_path, num_train_epochs=1, max_steps=-1, **split(4, 1))
    parts = fit(model, processor, data, tmp_path, num_train_epochs=1, max_steps=-1, **split(2, 2))
    assert whole.state.global_step == parts.state.global_step == 2
    assert vlm.largest_difference(whole.model, parts.model) < 1e-6


# --- the loss ----------------------------------------------------------------------------------


def test_token_mean_is_plain_fine_tuning(llava, tmp_path):
    model, processor = llava
    ours = fit(model, processor, vlm.dataset(EXAMPLES), tmp_path, balance="token_mean")
    stock = SFTTrainer(
        copy.deepcopy(model),
        SFTConfig(str(tmp_path), **vlm.SGD_ON_CPU, remove_unused_columns=False),
        train_dataset=vlm.dataset(EXAMPLES),
        processing_class=processor,
    )
    stock.train()
    assert vlm.history(ours, "loss") == pytest.approx(vlm.history(stock, "loss"), rel=1e-5)
    accuracy = "mean_token_accuracy"
    assert vlm.history(ours, accuracy) == pytest.approx(vlm.history(stock, accuracy), abs=1e-6)
    assert vlm.history(ours, "num_tokens") == vlm.history(stock, "num_tokens")
    assert vlm.largest_difference(ours.model, stock.model) < 1e-6


def own_losses(model, batch) -> list[torch.Tensor]:
    """L_p and L_r written down independently of the trainer."""
    inputs = {k: v for k, v in batch.items() if k not in ("labels", "segment_ids")}
    logits = model(**inputs).logits[:, :-1].double()
    nll = F.cross_entropy(logits.transpose(1, 2), batch["labels"][:, 1:], reduction="none")
    return [nll[batch["segment_ids"][:, 1:] == segment].mean() for segment in (0, 1)]


@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
def test_logged_loss_is_the_weighted_sum_of_the_means(vlm_and_data, lam, tmp_path):
    model, processor, data = vlm_and_data
    trainer = fit(model, processor, data, tmp_path, lam=lam, max_steps=1)
    loss_p, loss_r = own_losses(model, trainer.data_collator([data[i] for i in range(8)]))
    (first,) = (entry for entry in trainer.state.log_history if "loss_p" in entry)
    assert first["loss_p"] == pytest.approx(loss_p.item(), rel=1e-5)
    assert first["loss_r"] == pytest.approx(loss_r.item(), rel=1e-5)
    assert first["loss"] == pytest.approx((lam * loss_p + (1 - lam) * loss_r).item(), rel=1e-5)
    assert first["loss_share_p"] == pytest.approx(
        (lam * loss_p / (lam * loss_p + (1 - lam) * loss_r)).item(), rel=1e-5
    )


def test_ngdiff_norms_are_those_of_all_parameters(vlm_and_data, tmp_path):
    model, processor, data = vlm_and_data
    trainer = fit(model, processor, data, tmp_path, balance="ngdiff", max_steps=1)
    batch = trainer.data_collator([data[i] for i in range(8)])
    norms = []
    for loss in own_losses(model, batch):
        gradients = torch.autograd.grad(
            loss, list(model.parameters()), allow_unused=True, retain_graph=True
        )
        norms.append(torch.cat([g.flatten() for g in gradients if g is not None]).norm().item())
    (first,) = (entry for entry in trainer.state.log_history if "grad_norm_p" in entry)
    assert [first["grad_norm_p"], first["grad_norm_r"]] == pytest.approx(norms, rel=1e-4)
    assert first["lambda"] == pytest.approx(norms[1] / sum(norms), rel=1e-4)


def test_ngdiff_takes_the_step_of_its_lambda(llava, tmp_path):
    """Its combined gradient is that of a fixed lambda with the value it found."""
    model, processor = llava
    data = vlm.encoded(processor, EXAMPLES)
    ngdiff = fit(model, processor, data, tmp_path, balance="ngdiff", max_steps=1)
    lam = vlm.history(ngdiff, "lambda")[0]
    fixed = fit(model, processor, data, tmp_path, balance="fixed", lam=lam, max_steps=1)
    assert vlm.largest_difference(ngdiff.model, fixed.model) < 1e-6
    assert vlm.history(ngdiff, "loss")[0] == pytest.approx(vlm.history(fixed, "loss")[0], rel=1e-5)


def test_ngdiff_works_with_gradient_checkpointing(llava, tmp_path):
    model, processor = llava
    data = vlm.encoded(processor, EXAMPLES)
    plain = fit(model, processor, data, tmp_path, balance="ngdiff")
    saving = fit(model, processor, data, tmp_path, balance="ngdiff", gradient_checkpointing=True)
    assert vlm.largest_difference(plain.model, saving.model) < 1e-6


@pytest.mark.parametrize("balance", ["token_mean", "fixed", "ngdiff"])
def test_batches_without_perception_train_reasoning_as_before(llava, balance, tmp_path):
    model, processor = llava
    examples = [
        example | {"segments": [{"type": "reasoning", "text": example["completion"][0]["content"]}]}
        for example in EXAMPLES
    ]
    data = vlm.encoded(processor, examples)
    lam = {} if balance == "token_mean" else {"lam": 0.25}
    trainer = fit(model, processor, data, tmp_path, balance=balance, **lam)
    assert vlm.history(trainer, "n_p") == [0.0, 0.0]
    assert vlm.history(trainer, "loss_p") == []
    weight = 1.0 if balance == "token_mean" else 0.75
    expected = [weight * loss for loss in vlm.history(trainer, "loss_r")]
    assert vlm.history(trainer, "loss") == pytest.approx(expected, rel=1e-5)
    assert vlm.largest_difference(trainer.model, model) > 1e-4
    assert all(parameter.isfinite().all() for parameter in trainer.model.parameters())


def test_evaluation_logs_means_over_all_tokens(llava, tmp_path):
    model, processor = llava
    data = vlm.encoded(processor, EXAMPLES)
    results = []
    for batch_size in (16, 3):
        args = vlm.config(tmp_path, per_device_eval_batch_size=batch_size)
        trainer = BalancedSFTTrainer(
            copy.deepcopy(model),
            args,
            train_dataset=data,
            eval_dataset=data,
            processing_class=processor,
        )
        trainer.evaluate()
        results.append(trainer.state.log_history[-1])
    losses = own_losses(model, trainer.data_collator([data[i] for i in range(16)]))
    for result in results:
        assert result["eval_loss_p"] == pytest.approx(losses[0].item(), rel=1e-5)
        assert result["eval_loss_r"] == pytest.approx(losses[1].item(), rel=1e-5)


def test_logs_cover_every_step_since_the_last_log(llava, tmp_path):
    model, processor = llava
    data = vlm.encoded(processor, EXAMPLES)
    every = fit(model, processor, data, tmp_path, balance="token_mean")
    once = fit(model, processor, data, tmp_path, balance="token_mean", logging_steps=2)
    sums = [0.0, 0.0]
    for loss, n in zip(vlm.history(every, "loss_p"), vlm.history(every, "n_p"), strict=True):
        sums = [sums[0] + loss * n, sums[1] + n]
    assert vlm.history(once, "loss_p") == pytest.approx([sums[0] / sums[1]], rel=1e-5)
    assert vlm.history(once, "n_p") == pytest.approx([sums[1] / 2])


# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"packing": True}, "does not support packing"),
        ({"padding_free": True}, "does not support padding_free"),
        ({"use_liger_kernel": True}, "does not support use_liger_kernel"),
        ({"assistant_only_loss": True}, "does not support assistant_only_loss"),
        ({"completion_only_loss": False}, "does not support completion_only_loss=False"),
        ({"label_smoothing_factor": 0.1}, "does not support label_smoothing_factor"),
        ({"loss_type": "dft"}, "does not support loss_type='dft'"),
        ({"balance": "half"}, "balance must be token_mean, .*, head or module:Class, got 'half'"),
        ({"lam": 2.0}, r"lam must be in \[0, 1\], got 2.0"),
        ({"perception_tags": ["<p>"]}, r"must be two strings, got \['<p>'\]"),
        ({"tag_tokens": "both"}, "tag_tokens must be segment or other, got 'both'"),
        (
            {
                "balance": "ngdiff",
                "gradient_checkpointing": True,
                "gradient_checkpointing_kwargs": {"use_reentrant": True},
            },
            "balance='ngdiff' does not support reentrant gradient checkpointing",
        ),
        (
            {"balance": "ngdiff", "optim": "galore_adamw_layerwise"},
            "'ngdiff' does not support optim=galore_adamw_layerwise: it steps within each backward",
        ),
        ({"balance": "calibrated", "optim": "adalomo"}, "does not support optim=adalomo"),
        ({"balance": "ngdiff_unbiased", "optim": "lomo"}, "does not support optim=lomo"),
    ],
)
def test_unsupported_options_are_refused_in_one_sentence(llava, options, message, tmp_path):
    model, processor = llava
    with pytest.raises(ValueError, match=message):
        BalancedSFTTrainer(
            model,
            vlm.config(tmp_path, **options),
            train_dataset=vlm.dataset(EXAMPLES),
            processing_class=processor,
        )


@pytest.mark.skipif(
    not hasattr(SFTConfig, "activation_checkpointing"), reason="new in transformers 5.23"
)
def test_checkpointing_under_its_new_name_is_refused_alike(tmp_path):
    new = {
        "activation_checkpointing": True,
        "activation_checkpointing_kwargs": {"use_reentrant": True},
    }
    args = vlm.config(tmp_path, balance="ngdiff", **new)
    with pytest.raises(ValueError, match="does not support reentrant gradient checkpointing"):
        refuse_unsupported(args, args.make_balance(), {})


def test_ngdiff_refuses_a_loss_scaler(tmp_path):
    args = vlm.config(tmp_path, balance="ngdiff")
    args.fp16 = True
    with pytest.raises(ValueError, match="balance='ngdiff' does not support fp16"):
        refuse_unsupported(args, args.make_balance(), {})


def a_setup(**changes) -> SimpleNamespace:
    """What the refusals read of a trainer, for engines that do not run here."""
    parallel = {f"{kind}_enabled": changes.pop(kind, False) for kind in ("cp", "sp", "tp")}
    plain = {"is_fsdp_enabled": False, "is_deepspeed_enabled": False, "aux_loss_enabled": False}
    parallelism = SimpleNamespace(**parallel)
    fsdp2 = changes.pop("is_fsdp2", False)
    dynamo = SimpleNamespace(backend=DynamoBackend(changes.pop("dynamo", "NO")))
    accelerator = SimpleNamespace(
        parallelism_config=parallelism,
        is_fsdp2=fsdp2,
        num_processes=changes.pop("ranks", 1),
        state=SimpleNamespace(dynamo_plugin=dynamo),
    )
    args = SimpleNamespace(
        gradient_accumulation_steps=changes.pop("micro_batches", 1),
        activation_offloading=changes.pop("activation_offloading", False),
        torch_compile=changes.pop("torch_compile", False),
    )
    return SimpleNamespace(accelerator=accelerator, args=args, **(plain | changes))


@pytest.mark.parametrize(
    ("changes", "balance", "message"),
    [
        ({"cp": True}, Fixed(0.5), "does not support cp_size > 1"),
        ({"sp": True}, Fixed(0.5), "does not support sp_size > 1"),
        ({"tp": True}, Fixed(0.5), "does not support tp_size > 1"),
        ({"aux_loss_enabled": True}, Fixed(0.5), "auxiliary loss of mixture-of-experts"),
        ({"is_fsdp_enabled": True}, NGDiff(), "'ngdiff' does not support FSDP 1"),
        ({"is_deepspeed_enabled": True}, NGDiff(), "'ngdiff' does not support DeepSpeed"),
        ({"activation_offloading": True}, NGDiff(), "does not support activation_offloading"),
        ({"torch_compile": True}, NGDiff(), "'ngdiff' does not support torch_compile"),
        ({"dynamo": "INDUCTOR"}, NGDiff(), "'ngdiff' does not support torch_compile"),
    ],
)
def test_unsupported_engines_are_refused_in_one_sentence(changes, balance, message):
    refuse_unsupported_setup(a_setup(), balance)
    refuse_unsupported_setup(a_setup(is_fsdp_enabled=True, is_fsdp2=True), balance)
    with pytest.raises(ValueError, match=message):
        refuse_unsupported_setup(a_setup(**changes), balance)


@pytest.mark.parametrize("option", ["activation_offloading", "torch_compile"])
def test_one_backward_pass_for_each_forward_pass_is_enough_for_other_balances(option):
    refuse_unsupported_setup(a_setup(**{option: True}), Fixed(0.5))
    sharded = {"is_fsdp_enabled": True, "is_fsdp2": True}
    refuse_unsupported_setup(a_setup(**{option: True}, **sharded), NGDiff())


@pytest.mark.parametrize(
    ("changes", "enough"),
    [
        ({}, False),
        ({"micro_batches": 2}, True),
        ({"ranks": 2}, True),
        ({"ranks": 2, "is_fsdp_enabled": True, "is_fsdp2": True}, False),
    ],
)
def test_a_balance_that_compares_parts_needs_two_of_them(changes, enough):
    balance = UnbiasedNGDiff(decay=0.9)
    one = "'ngdiff_unbiased' compares the micro-batches of a step, and there is one"
    with nullcontext() if enough else pytest.raises(ValueError, match=one):
        refuse_unsupported_setup(a_setup(**changes), balance)


def test_other_losses_are_refused(llava, tmp_path):
    model, processor = llava
    for name in ("compute_loss_func", "formatting_func"):
        with pytest.raises(ValueError, match=f"does not support {name}"):
            BalancedSFTTrainer(
                model,
                vlm.config(tmp_path),
                train_dataset=vlm.dataset(EXAMPLES),
                processing_class=processor,
                **{name: lambda *_: None},
            )
