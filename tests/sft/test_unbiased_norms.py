"""Norms without the noise of the batch: against pairs of micro-batches, and against the truth."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
import vlm_fixtures as vlm
from accelerate import Accelerator

from percbal.models.loading import load_vlm
from percbal.objective.unbiased import FLOOR
from percbal.sft.collate import SegmentCollator
from percbal.sft.part_norms import PartNorms
from percbal_ops import SegmentOutput

EXAMPLES = [vlm.example_at(i) for i in range(8)]


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    return load_vlm(vlm.tiny_llava(tmp_path_factory.mktemp("llava")))


def of_pairs(gradients: list[torch.Tensor], tokens: list[float]) -> float:
    """(M17) as it reads: products of different parts' sums, (P,) float64 each."""
    pairs = list(itertools.permutations(range(len(tokens)), 2))
    products = sum(float(gradients[i] @ gradients[j]) for i, j in pairs)
    return products / sum(tokens[i] * tokens[j] for i, j in pairs)


def own_gradient(model, batch, segment) -> tuple[torch.Tensor, float]:
    """Of the summed losses of a segment's tokens, (P,) float64, and how many there are."""
    fields = {k: v for k, v in batch.items() if k not in ("labels", "segment_ids")}
    fields["pixel_values"] = fields["pixel_values"].double()
    logits = model(**fields).logits[:, :-1]
    nll = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), batch["labels"][:, 1:], reduction="none"
    )
    here = (batch["segment_ids"][:, 1:] == segment) & (batch["labels"][:, 1:] != -100)
    parameters = list(model.parameters())
    found = torch.autograd.grad(nll[here].sum(), parameters, allow_unused=True)
    pairs = zip(found, parameters, strict=True)
    flat = [torch.zeros_like(p) if g is None else g for g, p in pairs]
    return torch.cat([g.flatten() for g in flat]), float(here.sum())


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("chunked", [False, True])
def test_the_weights_are_those_of_the_products_of_pairs(llava, size, chunked, tmp_path):
    model, processor = llava
    exact = copy.deepcopy(model).double()
    collate = SegmentCollator(processor)
    batches = [collate(EXAMPLES[i : i + size]) for i in range(0, 8, size)]
    norms = []
    for segment in range(2):
        parts = [own_gradient(exact, batch, segment) for batch in batches]
        square = of_pairs(*map(list, zip(*parts, strict=True)))
        of_all = sum(g for g, _ in parts) / sum(n for _, n in parts)
        assert square < 0.97 * float(of_all @ of_all), "there is noise to take away"
        norms.append(max(square, 0.0) ** 0.5)
        assert norms[-1] > FLOOR * float(of_all.norm())
    trainer = vlm.train(
        copy.deepcopy(model),
        processor,
        vlm.encoded(processor, EXAMPLES),
        vlm.config(
            tmp_path,
            balance="ngdiff_unbiased",
            max_steps=1,
            chunked_logits=chunked,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=8 // size,
        ),
    )
    lam = vlm.history(trainer, "lambda")[0]
    assert lam == pytest.approx(norms[1] / sum(norms), rel=1e-4)
    plain = [vlm.history(trainer, f"grad_norm_{s}")[0] for s in "pr"]
    assert abs(lam - plain[1] / sum(plain)) > 1e-3


def test_the_step_is_that_of_its_lambda(llava, tmp_path):
    model, processor = llava
    data = vlm.encoded(processor, EXAMPLES)
    split = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4, "max_steps": 1}

    def trained(**options):
        args = vlm.config(tmp_path, **split, **options)
        return vlm.train(copy.deepcopy(model), processor, data, args)

    unbiased = trained(balance="ngdiff_unbiased")
    fixed = trained(lam=vlm.history(unbiased, "lambda")[0])
    assert vlm.largest_difference(unbiased.model, model) > 1e-3
    assert vlm.largest_difference(unbiased.model, fixed.model) < 1e-6


def part(tokens: tuple[int, ...]) -> list[SegmentOutput]:
    """A part's results, of which the counts are read."""
    nothing, alone = torch.zeros(len(tokens)), torch.diag(torch.tensor(tokens))
    return [SegmentOutput(nothing[0], nothing, own, nothing) for own in alone]


def test_the_mean_over_batches_is_the_true_squared_norm():
    """That of a batch's squared norm is not: four parts of tokens, each with its own noise."""
    generator = torch.Generator().manual_seed(0)
    truth, tokens = torch.tensor([0.3, -0.4]), (1, 2, 2, 5)
    parts, found, plain = PartNorms(Accelerator(cpu=True), of_all_ranks=False), [], []
    for _ in range(3000):
        sums = [n * truth + n**0.5 * torch.randn(2, generator=generator) for n in tokens]
        sums = [g / sum(tokens) for g in sums]
        for gradient, n in zip(sums, tokens, strict=True):
            parts.add([gradient.norm()], part((n,)))
        norm = torch.stack(sums).sum(0).norm()
        products, of_ones = parts.take(norm[None])
        found.append(float(products / of_ones))
        plain.append(float(norm) ** 2)
    found, plain = torch.tensor(found), torch.tensor(plain)
    error = float(found.std()) / 3000**0.5
    assert abs(float(found.mean()) - 0.25) < 4 * error
    assert float(plain.mean()) - 0.25 > 20 * error  # 2 / 10 of noise


def test_a_segment_in_fewer_than_two_parts_has_no_estimate():
    parts = PartNorms(Accelerator(cpu=True), of_all_ranks=False)
    for tokens in ((3, 3, 0), (4, 0, 0)):
        parts.add([torch.tensor(float(n)) for n in tokens], part(tokens))
    pairs = parts.take(torch.tensor([6.0, 3.0, 0.0]))
    assert pairs[:, 0].tolist() == pytest.approx([36 - 9 - 16, 1 - 25 / 49])
    assert not pairs[:, 1:].any()


def test_a_segment_that_is_never_learnt_of_is_named_once(llava, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("percbal.sft.observed.LOOKED_AT_STEP", 2)
    model, processor = llava
    options = {"max_steps": 4, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 2}
    options |= {"balance": "ngdiff_unbiased", "ngdiff_decay": 0.9}
    for segments in ("perception,reasoning", "perception,action,reasoning"):
        args = vlm.config(tmp_path, segments=segments, **options)
        vlm.train(copy.deepcopy(model), processor, vlm.dataset(EXAMPLES), args)
        said = [m for m in caplog.messages if "fewer than two parts" in m]
        assert len(said) == segments.count("action"), said
    assert said[0].startswith("action has had tokens in fewer than two parts of each of 2 steps")


def test_a_step_of_one_micro_batch_is_refused(llava, tmp_path):
    model, processor = llava
    args = vlm.config(tmp_path, balance="ngdiff_unbiased")
    with pytest.raises(
        ValueError, match="'ngdiff_unbiased' compares the micro-batches of a step, and there is one"
    ):
        vlm.train(copy.deepcopy(model), processor, vlm.encoded(processor, EXAMPLES), args)
