"""Facts about fine-tuning with more segments than two, or others."""

from __future__ import annotations

import copy
import shutil

import pytest
import torch
import torch.nn.functional as F
import vlm_fixtures as vlm

from percbal.models.checkpoint import refuse_other_segments
from percbal.models.loading import load_vlm
from percbal.segments.names import OTHER, Segments
from percbal.segments.tagged import SegmentError
from percbal.sft.collate import SegmentCollator
from percbal.sft.encoded import EncodedDataset, encode_examples
from percbal.sft.trainer import BalancedSFTTrainer

EXAMPLES = [vlm.example_at(i) for i in range(8)]
WEIGHTS = {"perception": 0.5, "answer": 0.2, "reasoning": 0.3}
THREE = Segments.parse(WEIGHTS)


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    return load_vlm(vlm.tiny_llava(tmp_path_factory.mktemp("llava")))


def fit(llava, data, out, **options) -> BalancedSFTTrainer:
    model, processor = llava
    args = vlm.config(out, **({"segments": WEIGHTS} | options))
    return vlm.train(copy.deepcopy(model), processor, data, args)


def three(processor) -> EncodedDataset:
    return encode_examples(EXAMPLES, SegmentCollator(processor, segments=THREE))


def losses_of(model, batch, n: int) -> torch.Tensor:
    """(n,) mean losses in float64 of the words of each segment, written down by itself."""
    inputs = {k: v for k, v in batch.items() if k not in ("labels", "segment_ids")}
    inputs["pixel_values"] = inputs["pixel_values"].double()
    logits = model(**inputs).logits[:, :-1]
    nll = F.cross_entropy(logits.transpose(1, 2), batch["labels"][:, 1:], reduction="none")
    return torch.stack([nll[batch["segment_ids"][:, 1:] == s].mean() for s in range(n)])


@pytest.mark.parametrize("chunked", [False, True], ids=["whole", "chunked"])
def test_three_segments_equal_a_float64_reference_under_accumulation(llava, chunked, tmp_path):
    model, processor = llava
    data = three(processor)
    trainer = fit(
        llava,
        data,
        tmp_path,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=4,
        chunked_logits=chunked,
        max_steps=1,
    )
    truth = copy.deepcopy(model).double()
    losses = losses_of(truth, trainer.data_collator([data[i] for i in range(8)]), 3)
    loss = losses @ torch.tensor(THREE.weights, dtype=torch.float64)
    loss.backward()
    with torch.no_grad():
        for parameter in truth.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    assert vlm.largest_difference(trainer.model, model) > 1e-3
    assert vlm.largest_difference(trainer.model.double(), truth) < 1e-6
    (log,) = (entry for entry in trainer.state.log_history if "loss_answer" in entry)
    assert log["loss"] == pytest.approx(loss.item(), rel=1e-5)
    for i, (name, weight) in enumerate(WEIGHTS.items()):
        assert log[f"loss_{name}"] == pytest.approx(losses[i].item(), rel=1e-5)
        assert log[f"weight_{name}"] == pytest.approx(weight)
        share = (weight * losses[i] / loss).item()
        assert log[f"loss_share_{name}"] == pytest.approx(share, rel=1e-5)
    words = [len(e["completion"][0]["content"].split()) for e in EXAMPLES]
    assert log["n_answer"] == 3 * 8  # two tags and a word
    assert log["n_perception"] + log["n_answer"] + log["n_reasoning"] == sum(words) + 8
    assert not {"lambda", "loss_p", "token_share_p"} & log.keys()


def test_two_by_name_are_the_two(llava, tmp_path):
    data = vlm.encoded(llava[1], EXAMPLES)
    plain = fit(llava, data, tmp_path, segments=None, lam=0.3)
    named = fit(llava, data, tmp_path, segments="perception=0.3,reasoning=0.7")
    assert vlm.largest_difference(plain.model, named.model) < 1e-7
    names = [set().union(*trainer.state.log_history) for trainer in (plain, named)]
    assert names[0] == names[1] >= {"loss_p", "loss_r", "lambda", "n_p", "token_share_p"}


# --- the data ------------------------------------------------------------------------------------


def words_of(processor, batch, segment: int) -> list[list[str]]:
    rows = zip(batch["input_ids"], batch["segment_ids"], strict=True)
    return [processor.tokenizer.decode(ids[s == segment]).split() for ids, s in rows]


def test_prompts_are_trained_on_where_they_are_a_segment(llava):
    processor = llava[1]
    plain = SegmentCollator(processor)(EXAMPLES)
    named = Segments.parse({"prompt": 0.1, "perception": 0.4, "reasoning": 0.5})
    batch = SegmentCollator(processor, segments=named)(EXAMPLES)
    prompt = batch["segment_ids"] == named.prompt
    assert words_of(processor, batch, named.prompt) == [["look"]] * 8
    assert torch.equal(batch["labels"][prompt], batch["input_ids"][prompt])
    assert torch.equal(batch["labels"][~prompt], plain["labels"][~prompt])
    rest = batch["segment_ids"].masked_fill(prompt, OTHER)
    assert torch.equal(
        rest, torch.where(plain["segment_ids"] >= 0, plain["segment_ids"] + 1, OTHER)
    )
    image = processor.tokenizer.convert_tokens_to_ids(processor.image_token)
    assert (batch["labels"] != image).all() and (batch["input_ids"] == image).any()


def test_a_type_that_is_not_named_is_refused_by_its_row(llava):
    rows = [dict(example) for example in EXAMPLES[:2]]
    text = rows[1]["completion"][0]["content"]
    rows[1]["segments"] = [{"type": "action", "text": text}]
    with pytest.raises(SegmentError, match="example 1 of the batch has .* 'action'; the types are"):
        SegmentCollator(llava[1], segments=THREE)(rows)
    named = Segments.parse("action=1")
    batch = SegmentCollator(llava[1], segments=named)(rows[1:])
    assert words_of(llava[1], batch, 0)[0][: len(text.split())] == text.split()


def test_encoded_data_keeps_its_names_and_refuses_others(llava, tmp_path):
    model, processor = llava
    three(processor).save(tmp_path / "data.pt")
    data = EncodedDataset.load(tmp_path / "data.pt")
    assert data.segments == THREE.names
    with pytest.raises(ValueError, match="EncodedDataset has the segments perception, answer, rea"):
        fit(llava, data, tmp_path, segments=None)
    with pytest.raises(ValueError, match="encoded differently"):
        EncodedDataset.concatenate([data, vlm.encoded(processor, EXAMPLES)])
    with pytest.raises(ValueError, match="the SegmentCollator has the segments perception, reason"):
        BalancedSFTTrainer(
            model,
            vlm.config(tmp_path, segments=WEIGHTS),
            train_dataset=vlm.dataset(EXAMPLES),
            processing_class=processor,
            data_collator=SegmentCollator(processor),
        )


# --- resume and refusals -------------------------------------------------------------------------


def test_a_resumed_run_equals_the_uninterrupted_one_and_other_segments_are_refused(llava, tmp_path):
    options = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "segments": WEIGHTS}
    data = three(llava[1])

    def made(out, data=data, **more):
        args = vlm.config(out, **(options | more))
        model = copy.deepcopy(llava[0])
        return BalancedSFTTrainer(model, args, train_dataset=data, processing_class=llava[1])

    whole, rest = made(tmp_path / "whole"), made(tmp_path / "rest")
    whole.train()
    shutil.copytree(tmp_path / "whole" / "checkpoint-2", tmp_path / "rest" / "checkpoint-2")
    plain = made(tmp_path / "rest", vlm.encoded(llava[1], EXAMPLES), segments=None)
    with pytest.raises(
        ValueError, match="has the segments perception, answer, reasoning, this run"
    ):
        plain.train(resume_from_checkpoint=True)
    assert vlm.largest_difference(plain.model, llava[0]) == 0.0
    rest.train(resume_from_checkpoint=True)
    assert rest.state.global_step == 4
    assert vlm.largest_difference(whole.model, rest.model) == 0.0
    assert vlm.history(whole, "loss_answer") == vlm.history(rest, "loss_answer")


def test_a_checkpoint_of_an_older_version_has_the_two(tmp_path):
    refuse_other_segments("here", {"log_odds": None}, ("perception", "reasoning"))
    refuse_other_segments("here", None, ("perception", "answer"))
    with pytest.raises(ValueError, match="here cannot be gone on from: it has the segments percep"):
        refuse_other_segments("here", {"log_odds": None}, ("perception", "answer"))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"segments": "perception,answer=0.2,reasoning"}, "gives none to perception, reasoning;"),
        ({"segments": WEIGHTS, "balance": "token_mean"}, "weighs every token alike, got the weigh"),
    ],
)
def test_weights_that_do_not_fit_the_balance_are_refused(options, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        vlm.config(tmp_path, **options).make_balance()


def test_every_segment_is_a_share_of_the_tokens_under_token_mean(llava, tmp_path):
    plain = fit(
        llava, vlm.encoded(llava[1], EXAMPLES), tmp_path, segments=None, balance="token_mean"
    )
    options = {"segments": "perception,answer,reasoning", "balance": "token_mean"}
    named = fit(llava, three(llava[1]), tmp_path, **options)
    assert vlm.largest_difference(plain.model, named.model) < 1e-6
    for name in ("perception", "answer", "reasoning"):
        shares = [vlm.history(named, f"{kind}_{name}") for kind in ("weight", "token_share")]
        assert shares[0] == pytest.approx(shares[1], rel=1e-6)


def test_a_segment_that_the_data_never_mark_is_named(llava, tmp_path, caplog):
    options = {"segments": {"perception": 0.5, "action": 0.2, "reasoning": 0.3}, "max_steps": 2}
    trainer = fit(llava, vlm.dataset(EXAMPLES), tmp_path, **options)
    said = [message for message in caplog.messages if "no token of the first batch" in message]
    assert len(said) == 1 and said[0].startswith("no token of the first batch is action: ")
    assert vlm.history(trainer, "n_action") == [0.0, 0.0]
    assert not vlm.history(trainer, "loss_action")
