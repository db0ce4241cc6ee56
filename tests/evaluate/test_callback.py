"""Facts about the diagnosis while training: it measures, and the training is what it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from callback_worker import trainer_of
from transformers import TrainerCallback
from two_processes import two_processes

from percbal.evaluate.callback import DiagnosisCallback, undisturbed
from percbal.evaluate.diagnose import diagnose
from percbal.models.tiny import build_tiny_vlm
from percbal.responses.asking import Asking
from percbal.tasks import get_task
from percbal.tasks.preview import export_jsonl

SIZES = {"hidden": 16, "layers": 1, "heads": 2, "mlp": 32}
NAMES = ("a", "a_p", "a_r", "unreadable")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("made")
    build_tiny_vlm(directory / "model", get_task("sudoku").vocabulary(), **SIZES)
    export_jsonl(get_task("sudoku"), "train", 8, directory / "data")
    return directory


def diagnoses(log):
    return [entry for entry in log if "diagnosis/a" in entry]


def rest(log):
    timed = ("runtime", "per_second", "step_time", "diagnosis/")
    entries = [{k: v for k, v in e.items() if not any(t in k for t in timed)} for e in log]
    return [entry for entry in entries if entry.keys() - {"epoch", "step"}]


@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_a_run_ends_and_logs_as_it_would_without(kind, made, tmp_path):
    runs = []
    for name, every in (("alone", None), ("watched", 3)):
        runs.append(trainer_of(kind, made, tmp_path / name, every=every))  # which seeds
        runs[-1].train()
    alone, watched = runs
    weights = [trainer.model.state_dict() for trainer in runs]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert alone.state.log_history[0]["grad_norm"] > 0
    found = diagnoses(watched.state.log_history)
    assert [entry["step"] for entry in found] == [3, 4]  # at the end, too
    assert all(f"diagnosis/{name}" in found[0] for name in NAMES)
    assert rest(watched.state.log_history) == rest(alone.state.log_history)
    saved = [
        sorted(p.name for p in (tmp_path / n).rglob("completions_*")) for n in ("alone", "watched")
    ]
    assert saved[0] == saved[1]


def test_it_logs_what_diagnose_measures_as_the_trainer_asks(made, tmp_path, monkeypatch):
    asked = []

    def measured(*args, asking, **options):
        asked.append(asking)
        return diagnose(*args, asking=asking, **options)

    monkeypatch.setattr("percbal.evaluate.callback.diagnose", measured)
    trainer = trainer_of("sft", made, tmp_path, 9, response_format="json", max_steps=1)
    trainer.train()
    (entry,) = diagnoses(trainer.state.log_history)
    asking = Asking(trainer.args.make_format())
    assert type(asked[0].response_format) is type(asking.response_format)
    options = {"n": 2, "asking": asking, "exact": True}
    result = diagnose(trainer.model, trainer.processing_class, get_task("sudoku"), **options)
    expected = [result.a.value, result.a_p.value, result.a_r.value, result.parse_failures / 2]
    assert [entry[f"diagnosis/{name}"] for name in NAMES] == expected
    assert entry["diagnosis/a_p_exact"] == result.accuracies["a_p_exact"].value > 0
    shares = {name: count / 2 for name, count in result.errors.items()}
    assert {name: entry[f"diagnosis/errors/{name}"] for name in shares} == shares
    assert sum(shares.values()) == 1


def test_a_resumed_run_does_not_log_a_step_twice(made, tmp_path):
    saves = {"save_strategy": "steps", "save_steps": 2}
    trainer_of("sft", made, tmp_path / "whole", every=3, **saves).train()
    shutil.copytree(tmp_path / "whole" / "checkpoint-2", tmp_path / "rest" / "checkpoint-2")
    for _ in range(2):  # the second time nothing is left to train
        resumed = trainer_of("sft", made, tmp_path / "rest", every=3, **saves)
        resumed.train(resume_from_checkpoint=True)
        assert [e["step"] for e in diagnoses(resumed.state.log_history)] == [3, 4]


def test_a_run_that_another_callback_stops_is_measured_at_its_end(made, tmp_path):
    class Stops(TrainerCallback):
        def on_log(self, args, state, control, **_):
            control.should_training_stop = True

    trainer = trainer_of("sft", made, tmp_path, every=50, logging_steps=1)
    trainer.add_callback(Stops())
    trainer.train()
    assert [e["step"] for e in diagnoses(trainer.state.log_history)] == [1]


@pytest.mark.slow
def test_the_first_of_two_processes_measures(made):
    two_processes(Path(__file__).with_name("callback_worker.py"), made)
    logs = [json.loads((made / f"log{rank}.json").read_text()) for rank in range(2)]
    assert [len(diagnoses(log)) for log in logs] == [2, 0]
    first, second = (torch.load(made / f"weights{rank}.pt") for rank in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_sharded_weights_are_refused():
    callback = DiagnosisCallback(get_task("sudoku"), None, every=1)
    callback.attach(SimpleNamespace(is_fsdp_enabled=True, is_deepspeed_enabled=False))
    with pytest.raises(ValueError, match="does not support FSDP or DeepSpeed: .*percbal diagnose"):
        callback.on_train_begin(None, None, None)


def test_impossible_numbers_and_a_missing_trainer_are_refused():
    with pytest.raises(ValueError, match="must be at least 1, got 0, 64 and 32"):
        DiagnosisCallback(get_task("sudoku"), None, every=0)
    with pytest.raises(ValueError, match="no trainer to log to"):
        DiagnosisCallback(get_task("sudoku"), None, every=1).on_train_begin(None, None, None)


def test_modes_and_random_states_are_left_as_they_were(made, tmp_path):
    model = trainer_of("sft", made, tmp_path, every=None).model.train()
    frozen = model.get_input_embeddings().eval()
    before = torch.get_rng_state()
    with undisturbed(model):
        model.eval()
        torch.rand(3)
    assert model.training and not frozen.training
    assert torch.equal(torch.get_rng_state(), before)
