"""Dynamic balances with one backward pass: which steps are exact, and whose weights a step has."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
import vlm_fixtures as vlm

from percbal.models.loading import load_vlm
from percbal.objective.balance import Balance, Fixed, Seen
from percbal.objective.calibrated import Calibrated
from percbal.objective.ngdiff import Head
from percbal.sft import segment_head
from percbal.sft.encoded import EncodedDataset
from percbal.sft.trainer import BalancedSFTTrainer

EXAMPLES = [vlm.example_at(i) for i in range(16)]
ALWAYS_RIGHT = {"balance": "calibrated", "calibrated_tolerance": 99.0}


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    model, processor = load_vlm(vlm.tiny_llava(tmp_path_factory.mktemp("llava")))
    return model, processor, vlm.encoded(processor, EXAMPLES)


def fit(llava, out, balance=None, **options) -> BalancedSFTTrainer:
    model, processor, data = llava
    trainer = BalancedSFTTrainer(
        copy.deepcopy(model),
        vlm.config(out, **options),
        train_dataset=data,
        processing_class=processor,
        balance=balance,
    )
    trainer.train()
    return trainer


class Rows(EncodedDataset):
    """Examples as they are given."""

    def __init__(self, rows):
        self.rows, self.pad_token_id, self.segments = rows, 0, ("perception", "reasoning")

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


class Follows(Balance):
    """Weights in proportion to what the step itself showed."""

    observes = True
    stand_in = "any"
    seen: Seen | None = None

    def observe(self, seen: Seen) -> None:
        self.seen = seen

    def weights(self, counts: torch.Tensor) -> torch.Tensor:
        if self.seen is None:
            return torch.full((len(counts),), 1 / len(counts))
        return self.seen.losses * self.seen.stand_in / (self.seen.losses * self.seen.stand_in).sum()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_step_of_one_micro_batch_is_weighed_by_itself(llava, chunked, tmp_path):
    ours = fit(llava, tmp_path, Follows(), max_steps=1, chunked_logits=chunked)
    lam = vlm.history(ours, "lambda")[0]
    assert abs(lam - 0.5) > 0.01
    fixed = fit(llava, tmp_path, lam=lam, max_steps=1, chunked_logits=chunked)
    assert vlm.largest_difference(ours.model, llava[0]) > 1e-3
    assert vlm.largest_difference(ours.model, fixed.model) < 1e-6
    for name in ("loss", "loss_p", "loss_r", "n_p", "loss_share_p"):
        assert vlm.history(ours, name) == pytest.approx(vlm.history(fixed, name), rel=1e-5), name
    seen = ours.balance.seen
    assert seen.losses.tolist() == pytest.approx(
        [vlm.history(fixed, f"loss_{s}")[0] for s in "pr"], rel=1e-5
    )
    assert seen.step == 0 and seen.counts.tolist() == [vlm.history(ours, f"n_{s}")[0] for s in "pr"]


def test_stand_ins_are_the_heads_norms_or_the_logits_times_the_root_of_the_count(llava, tmp_path):
    model, _, data = llava
    whole = fit(llava, tmp_path, Follows(), max_steps=1).balance.seen
    chunked = fit(llava, tmp_path, Follows(), max_steps=1, chunked_logits=True).balance.seen
    exact = copy.deepcopy(model)
    trainer = fit(llava, tmp_path, max_steps=1)
    batch = trainer.data_collator([data[i] for i in range(8)])
    inputs = {k: v for k, v in batch.items() if k not in ("labels", "segment_ids")}
    logits = exact(**inputs).logits
    nll = torch.nn.functional.cross_entropy(
        logits[:, :-1].transpose(1, 2), batch["labels"][:, 1:], reduction="none"
    )
    for s in range(2):
        mean = nll[batch["segment_ids"][:, 1:] == s].mean()
        of_logits, of_head = torch.autograd.grad(
            mean, [logits, exact.get_output_embeddings().weight], retain_graph=True
        )
        root = float(whole.counts[s]) ** 0.5
        assert float(whole.stand_in[s]) == pytest.approx(float(of_logits.norm()) * root, rel=1e-4)
        assert float(chunked.stand_in[s]) == pytest.approx(float(of_head.norm()), rel=1e-4)


def test_with_several_micro_batches_a_step_has_the_weights_of_the_one_before(llava, tmp_path):
    split = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    parts = fit(llava, tmp_path, Follows(), max_steps=2, **split)
    first, second = vlm.history(parts, "lambda")
    assert first == 0.5
    at_once = fit(llava, tmp_path, Follows(), max_steps=1)
    assert second == pytest.approx(vlm.history(at_once, "lambda")[0], rel=1e-5)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("split", [(8, 1), (4, 2)])
def test_calibrated_keeps_gradients_apart_in_its_exact_steps_alone(llava, chunked, split, tmp_path):
    trainer = fit(
        llava,
        tmp_path,
        max_steps=6,
        chunked_logits=chunked,
        per_device_train_batch_size=split[0],
        gradient_accumulation_steps=split[1],
        **ALWAYS_RIGHT,
    )
    logs = [entry for entry in trainer.state.log_history if "lambda" in entry]
    exact = [entry for entry in logs if "grad_norm_p" in entry]
    assert [entry["step"] for entry in exact] == [1, 2, 4]
    for entry in exact:
        share = entry["grad_norm_r"] / (entry["grad_norm_p"] + entry["grad_norm_r"])
        assert entry["lambda"] == pytest.approx(share, rel=1e-4)
    # a step of several micro-batches has the weights that the one before it left
    late = [after["lambda"] == before["lambda"] for before, after in pairwise(logs)]
    assert late == [False, split[1] > 1, False, split[1] > 1, False]


def test_a_logged_norm_is_the_mean_over_the_steps_that_took_it(llava, tmp_path):
    every = fit(llava, tmp_path, max_steps=4, **ALWAYS_RIGHT)
    once = fit(llava, tmp_path, max_steps=4, logging_steps=4, **ALWAYS_RIGHT)
    norms = vlm.history(every, "grad_norm_p")
    assert len(norms) == 3
    assert vlm.history(once, "grad_norm_p") == pytest.approx([sum(norms) / 3], rel=1e-5)


@pytest.mark.parametrize("split", [(8, 1), (2, 4)])
def test_norms_are_logged_under_the_level_they_are_of(llava, split, tmp_path):
    head = fit(
        llava,
        tmp_path,
        balance="head",
        chunked_logits=True,
        max_steps=1,
        per_device_train_batch_size=split[0],
        gradient_accumulation_steps=split[1],
    )
    assert vlm.history(head, "grad_norm_head_p") and not vlm.history(head, "grad_norm_logits_p")
    lam = float(head.balance.weights(torch.ones(2))[0])
    norms = [vlm.history(head, f"grad_norm_head_{s}")[0] for s in "pr"]
    assert lam == pytest.approx(norms[1] / sum(norms), rel=1e-5)


def test_a_controller_may_be_given_with_what_it_has_learnt(llava, tmp_path):
    ours = Calibrated(every=4, tolerance=99.0)
    fit(llava, tmp_path, ours, max_steps=3)
    state = ours.state_dict()
    trainer = fit(llava, tmp_path, ours, max_steps=1)
    assert trainer.balance is ours
    assert ours.state_dict()["factors"] != state["factors"] or ours.state_dict() != state


def test_a_controller_may_be_named_by_its_class(llava, tmp_path):
    trainer = fit(llava, tmp_path, f"{__name__}:Follows", max_steps=1)
    assert type(trainer.balance) is Follows


@pytest.mark.parametrize("split", [(8, 1), (4, 2), (2, 4), (1, 8)])
def test_parts_that_pull_one_way_give_the_heads_norm_of_the_whole(llava, split, tmp_path):
    """Eight rows of one text; reasoning is trained on in three of them alone."""
    model, processor, _ = llava
    rows = [dict(vlm.encoded(processor, EXAMPLES[:1])[0]) for _ in range(8)]
    for row in rows[3:]:
        row["labels"] = row["labels"].masked_fill(row["segment_ids"] == 1, -100)

    def lam(size, parts):
        options = {"per_device_train_batch_size": size, "gradient_accumulation_steps": parts}
        at = vlm.config(tmp_path, balance="head", chunked_logits=True, max_steps=1, **options)
        trainer = vlm.train(copy.deepcopy(model), processor, Rows(rows), at)
        return float(trainer.balance.weights(torch.ones(2))[0])

    assert lam(*split) == pytest.approx(lam(8, 1), rel=1e-4)


def test_an_evaluation_takes_no_norms_of_the_head(llava, tmp_path, monkeypatch):
    levels = []
    real = segment_head.linear_segment_cross_entropy

    def spied(*args, grad_norm, **options):
        levels.append(grad_norm)
        return real(*args, grad_norm=grad_norm, **options)

    monkeypatch.setattr(segment_head, "linear_segment_cross_entropy", spied)
    trainer = fit(llava, tmp_path, balance="head", chunked_logits=True, max_steps=1)
    assert set(levels) == {"head"}
    levels.clear()
    trainer.evaluate(llava[2])
    assert set(levels) == {"logits"}


class Asked(Balance):
    """No exact norms, whatever it says is due."""

    def due(self, counts: torch.Tensor) -> bool:
        return True

    def weights(self, counts: torch.Tensor) -> torch.Tensor:
        return torch.full((len(counts),), 1 / len(counts))


def test_what_needs_no_exact_norms_gets_none(llava, tmp_path):
    trainer = fit(llava, tmp_path, Asked(), max_steps=1)
    assert vlm.history(trainer, "lambda") and not vlm.history(trainer, "grad_norm_p")


@pytest.mark.parametrize(
    ("balance", "options", "why"),
    [
        (Follows, {}, r"must be a controller, got its class: Follows\(\)"),
        (Fixed(0.9), {"segments": "perception=0.2,reasoning=0.8"}, "has weights of its own, got"),
        (Fixed(0.9), {"segments": "perception,answer,reasoning"}, r"shape \(2,\), and .* answer"),
        (Head(), {"segments": "perception,answer,reasoning"}, r"shape \(2,\), and .* answer"),
    ],
)
def test_a_balance_that_does_not_fit_the_segments_is_refused(
    llava, balance, options, why, tmp_path
):
    with pytest.raises(ValueError, match=why):
        fit(llava, tmp_path, balance, chunked_logits=True, **options)


def test_head_without_chunks_is_refused(llava, tmp_path):
    with pytest.raises(ValueError, match="balance='head' needs chunked_logits"):
        fit(llava, tmp_path, balance="head")
