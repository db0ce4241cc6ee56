"""Facts about evaluation: each call and each set has metrics of its own."""

from __future__ import annotations

import copy
import json
from types import SimpleNamespace

import pytest
import torch
import vlm_fixtures as vlm
from accelerate import Accelerator
from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import BatchSampler

from percbal.models.loading import load_vlm
from percbal.sft.refusals import refuse_moving_loss
from percbal.sft.trainer import BalancedSFTTrainer

EXAMPLES = [vlm.example_at(i) for i in range(12)]


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    return load_vlm(vlm.tiny_llava(tmp_path_factory.mktemp("llava")))


def sets(processor, kind):
    parts = {"a": EXAMPLES[:4], "b": EXAMPLES[4:9]}
    make = vlm.dataset if kind == "rows" else lambda rows: vlm.encoded(processor, rows)
    return {name: make(rows) for name, rows in parts.items()}


def trainer(llava, out, held_out, kind="rows", **options):
    model, processor = llava
    torch.manual_seed(0)
    return BalancedSFTTrainer(
        copy.deepcopy(model),
        vlm.config(out, per_device_eval_batch_size=4, **options),
        train_dataset=sets(processor, kind)["a"],
        eval_dataset=held_out,
        processing_class=processor,
    )


def alone(llava, out, data, kind="rows"):
    """The metrics of a set that nothing else was evaluated before."""
    found = trainer(llava, out, data, kind).evaluate()
    return {k: v for k, v in found.items() if "loss_" in k or "accuracy" in k}


@pytest.mark.parametrize("kind", ["rows", "encoded"])
def test_predict_does_not_leak_into_the_next_evaluate(llava, kind, tmp_path):
    held_out = sets(llava[1], kind)
    expected = {name: alone(llava, tmp_path, data, kind) for name, data in held_out.items()}
    assert abs(expected["a"]["eval_loss_p"] - expected["b"]["eval_loss_p"]) > 1e-3
    both = trainer(llava, tmp_path, held_out["a"], kind)
    predicted = both.predict(held_out["b"]).metrics
    assert predicted["test_loss_p"] == pytest.approx(expected["b"]["eval_loss_p"])
    for name in ("a", "b", "a"):
        found = both.evaluate(held_out[name])
        assert {k: found[k] for k in expected[name]} == pytest.approx(expected[name])
        assert not [key for key in found if key.startswith("test_")]


@pytest.mark.parametrize("kind", ["rows", "encoded"])
def test_every_set_has_its_own_metrics(llava, kind, tmp_path):
    held_out = sets(llava[1], kind)
    both = trainer(llava, tmp_path, held_out, kind)
    found = both.evaluate()
    for name, data in held_out.items():
        for key, value in alone(llava, tmp_path, data, kind).items():
            assert found[key.replace("eval_", f"eval_{name}_")] == pytest.approx(value), key
    assert "eval_loss_p" not in found
    logged = [entry for entry in both.state.log_history if "eval_a_loss_r" in entry]
    assert len(logged) == 1 and "eval_b_loss_r" not in logged[0]


def test_a_sets_metric_chooses_the_best_checkpoint(llava, tmp_path):
    both = trainer(
        llava,
        tmp_path,
        sets(llava[1], "rows"),
        eval_strategy="steps",
        save_strategy="steps",
        eval_steps=1,
        save_steps=1,
        max_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_b_loss_p",
        greater_is_better=False,
    )
    both.train()
    values = vlm.history(both, "eval_b_loss_p")
    assert len(values) == 2 and both.state.best_metric == min(values)
    state = json.loads((tmp_path / "checkpoint-2" / "trainer_state.json").read_text())
    assert state["best_global_step"] == 1 + values.index(min(values))


@pytest.mark.parametrize("options", [{}, {"chunked_logits": True}, {"balance": "token_mean"}])
@pytest.mark.parametrize("rows", [9, 12, 8, 3])
def test_rows_that_fill_the_last_batch_of_two_ranks_count_once(
    llava, rows, options, tmp_path, monkeypatch
):
    data = vlm.encoded(llava[1], EXAMPLES[:rows])
    made = trainer(llava, tmp_path, data, "encoded", **options)
    alone = made.evaluate()
    kept = []  # of rows of all ranks, as the Trainer gathers them
    shards = [
        list(BatchSamplerShard(BatchSampler(range(rows), 4, drop_last=False), 2, rank))
        for rank in range(2)
    ]
    for number, of_ranks in enumerate(zip(*shards, strict=True), 1):
        last = number == len(shards[0])
        state = SimpleNamespace(end_of_dataloader=last, remainder=rows % 8)
        monkeypatch.setattr(made.accelerator, "gradient_state", state)
        losses = []
        for rank, indices in enumerate(of_ranks):
            monkeypatch.setattr(Accelerator, "process_index", rank)
            batch = made.data_collator([data[i] for i in indices])
            loss, _, _ = made.prediction_step(made.model, batch, prediction_loss_only=True)
            losses += [float(loss)] * 4
        kept += losses[: rows % 8] if last and rows % 8 else losses
    assert sum(kept) / len(kept) == pytest.approx(alone["eval_loss"], rel=1e-5)
    found = {f"eval_{name}": value for name, value in made._drain_evaluation().items()}
    assert {name: alone[name] for name in found} == pytest.approx(found, rel=1e-5)


BEST = {"eval_strategy": "steps", "save_strategy": "steps", "save_steps": 1, "eval_steps": 1}
BEST |= {"load_best_model_at_end": True}
PLATEAU = {"eval_strategy": "steps", "lr_scheduler_type": "reduce_lr_on_plateau"}


@pytest.mark.parametrize(
    ("options", "better"),
    [
        (BEST, "eval_a_loss_p or eval_a_loss_r$"),
        (PLATEAU, "eval_a_loss_p or eval_a_loss_r$"),
        ({"metric_for_best_model": "eval_a_loss"}, "eval_a_loss_p or eval_a_loss_r$"),
        (BEST | {"segments": "perception,answer,reasoning"}, "eval_a_loss_perception or eval_a_l"),
    ],
)
def test_a_loss_whose_weights_move_chooses_no_checkpoint(options, better, tmp_path):
    def check(name, **more):
        args = vlm.config(tmp_path, balance=name, **(options | more))
        refuse_moving_loss(args, args.make_balance(), {"a": None})
        return args

    check("token_mean")
    for name in ("ngdiff", "calibrated", "head"):
        with pytest.raises(ValueError, match=f"since balance='{name}' moves them .*{better}"):
            check(name)
    assert check("ngdiff", metric_for_best_model="eval_loss_r").greater_is_better is False
    accuracy = {"metric_for_best_model": "eval_no_loss_cut_token_accuracy_p"}
    assert check("ngdiff", **accuracy).greater_is_better
    assert check("ngdiff", metric_for_best_model="loss_p", greater_is_better=True).greater_is_better


def test_the_trainer_refuses_it_before_it_trains(llava, tmp_path):
    sentence = "^metric_for_best_model='loss' compares losses .*: set it to eval_loss_p or eval_"
    with pytest.raises(ValueError, match=sentence):
        trainer(llava, tmp_path, sets(llava[1], "rows")["a"], balance="ngdiff", **BEST)
