"""Facts about losses from hidden states in training: the same training without the logits."""

from __future__ import annotations

import copy

import pytest
import vlm_fixtures as vlm

from percbal.sft.trainer import BalancedSFTTrainer

EXAMPLES = [vlm.example_at(i) for i in range(16)]


@pytest.fixture(scope="module", params=["llava", "qwen"])
def vlm_and_data(request, tmp_path_factory):
    return vlm.model_and_data(request.param, tmp_path_factory.mktemp("model"), EXAMPLES)


def fit(vlm_and_data, out, *, head_allowed=True, **options):
    model, processor, data = vlm_and_data
    model = copy.deepcopy(model)
    if not head_allowed:
        model.get_output_embeddings().register_forward_pre_hook(_fail)
    return vlm.train(model, processor, data, vlm.config(out, **options))


def _fail(*_):
    raise AssertionError("the head was asked for whole logits")


@pytest.mark.parametrize("balance", ["token_mean", "fixed", "ngdiff"])
def test_it_is_the_same_training(vlm_and_data, balance, tmp_path):
    options = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    whole = fit(vlm_and_data, tmp_path, balance=balance, **options)
    chunked = fit(
        vlm_and_data, tmp_path, head_allowed=False, balance=balance, chunked_logits=True, **options
    )
    assert vlm.largest_difference(whole.model, vlm_and_data[0]) > 1e-3
    assert vlm.largest_difference(whole.model, chunked.model) < 1e-6
    names = ["loss", "loss_p", "loss_r", "lambda", "n_p", "grad_norm_logits_p", "loss_share_p"]
    for name in names + (["grad_norm_p", "grad_norm_r"] if balance == "ngdiff" else []):
        assert vlm.history(whole, name) == pytest.approx(vlm.history(chunked, name), rel=1e-4), name
    assert vlm.history(whole, "token_accuracy_p") and not vlm.history(chunked, "token_accuracy_p")


def test_it_is_the_same_training_in_bfloat16(vlm_and_data, tmp_path):
    whole, chunked = (
        fit(vlm_and_data, tmp_path, balance="fixed", lam=0.3, bf16=True, chunked_logits=chunked)
        for chunked in (False, True)
    )
    assert vlm.largest_difference(whole.model, vlm_and_data[0]) > 1e-3
    for name in ("loss", "loss_p", "loss_r", "grad_norm_logits_p"):
        assert vlm.history(whole, name) == pytest.approx(vlm.history(chunked, name), rel=1e-2), name


def test_the_head_can_be_seen_to_be_asked(vlm_and_data, tmp_path):
    """The test above must be able to fail."""
    with pytest.raises(AssertionError, match="whole logits"):
        fit(vlm_and_data, tmp_path, head_allowed=False)


def test_evaluation_needs_no_logits_either(vlm_and_data, tmp_path):
    model, processor, data = vlm_and_data
    losses = []
    for chunked in (False, True):
        policy = copy.deepcopy(model)
        if chunked:
            policy.get_output_embeddings().register_forward_pre_hook(_fail)
        args = vlm.config(tmp_path, chunked_logits=chunked)
        trainer = BalancedSFTTrainer(
            policy, args, train_dataset=data, eval_dataset=data, processing_class=processor
        )
        losses.append(trainer.evaluate())
        assert trainer.predict(data).metrics["test_loss"] == pytest.approx(
            losses[-1]["eval_loss"], rel=1e-4
        )
    for name in ("eval_loss", "eval_loss_p", "eval_loss_r"):
        assert losses[0][name] == pytest.approx(losses[1][name], rel=1e-4)


def test_metrics_of_logits_are_refused(vlm_and_data, tmp_path):
    model, processor, data = vlm_and_data
    with pytest.raises(
        ValueError, match="compute_metrics with chunked_logits: there are no logits"
    ):
        BalancedSFTTrainer(
            copy.deepcopy(model),
            vlm.config(tmp_path, chunked_logits=True),
            train_dataset=data,
            processing_class=processor,
            compute_metrics=lambda _: {},
        )
