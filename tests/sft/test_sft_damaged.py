"""Facts about damaged checkpoints: passed over or refused by name, never gone on from in part."""

from __future__ import annotations

import copy
import logging
import os
import shutil
from pathlib import Path

import pytest
import vlm_fixtures as vlm
from damages import deleted, emptied, truncated

from percbal.models.finite import keep_weights
from percbal.models.loading import LoadingError, load_vlm
from percbal.models.manifest import MANIFEST
from percbal.models.resume import incomplete, last_checkpoint
from percbal.models.weights import load_weights
from percbal.sft.trainer import BalancedSFTTrainer

STATES = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")
DAMAGES = {damage.__name__: damage for damage in (truncated, emptied, deleted)}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model with data, and a run of 6 steps with checkpoints after 2, 4 and 6."""
    root = tmp_path_factory.mktemp("made")
    examples = [vlm.example_at(i) for i in range(16)]
    model_and_data = vlm.model_and_data("llava", root / "model", examples)
    trainer = make(model_and_data, root / "run")
    trainer.train()
    return model_and_data, root / "run", trainer.model


def make(model_and_data, out, eval_dataset=None, **options) -> BalancedSFTTrainer:
    model, processor, data = model_and_data
    options = {"balance": "ngdiff", "ngdiff_decay": 0.9, "max_steps": 6, "save_steps": 2} | options
    options = {"save_strategy": "steps"} | options
    return BalancedSFTTrainer(
        copy.deepcopy(model),
        vlm.config(out, optim="adamw_torch", **options),
        train_dataset=data,
        eval_dataset=eval_dataset,
        processing_class=processor,
    )


@pytest.fixture
def run(made, tmp_path):
    """A copy to damage, whose newest checkpoint is the one after step 4."""
    shutil.copytree(made[1], tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoint-6")
    return tmp_path / "run"


def files(checkpoint: Path) -> list[str]:
    return sorted(path.name for path in checkpoint.iterdir())


def test_a_checkpoint_has_every_part_and_nothing_is_left_aside(made):
    _, out, _ = made
    assert files(out) == ["README.md", "checkpoint-2", "checkpoint-4", "checkpoint-6"]
    assert {*STATES, MANIFEST, "balance_state.json"} <= set(files(out / "checkpoint-6"))
    assert incomplete(out / "checkpoint-6") is None


def test_every_damage_to_every_file_passes_its_checkpoint_over(made, run, caplog):
    names = files(run / "checkpoint-4")
    for name in names:
        for kind, do in DAMAGES.items():
            if (name, kind) == (MANIFEST, "deleted"):  # as of an older version, see below
                continue
            kept = (run / "checkpoint-4" / name).read_bytes()
            if kept:
                do(run / "checkpoint-4" / name)
                caplog.clear()
                with caplog.at_level(logging.WARNING):
                    found = last_checkpoint(run)
                assert found == str(run / "checkpoint-2"), (name, kind)
                assert name in caplog.text and "going on from checkpoint-2" in caplog.text
                (run / "checkpoint-4" / name).write_bytes(kept)
    assert last_checkpoint(run) == str(run / "checkpoint-4")


def test_a_run_that_passed_a_checkpoint_over_ends_as_it_would_have(made, run):
    os.truncate(run / "checkpoint-4" / "trainer_state.json", 0)
    resumed = make(made[0], run)
    resumed.train(resume_from_checkpoint=True)
    assert vlm.largest_difference(resumed.model, made[2]) == 0.0
    assert incomplete(run / "checkpoint-4") is None, "it is written again in its place"


def test_a_backup_copy_is_no_checkpoint(run):
    shutil.copytree(run / "checkpoint-2", run / "checkpoint-backup-8")
    assert last_checkpoint(run) == str(run / "checkpoint-4")


def test_weights_are_kept_though_an_earlier_run_left_the_same_folder(made, run):
    """The folder of that name holds other weights."""
    trainer = make(made[0], run, max_steps=4, learning_rate=0.5, save_strategy="no")
    trainer.train()
    path = Path(keep_weights(trainer))
    assert path == run / "checkpoint-4"
    again = copy.deepcopy(made[0][0])
    load_weights(again, path)
    assert vlm.largest_difference(again, trainer.model) == 0.0


def test_the_best_checkpoint_is_found_where_the_folder_is_now(made, tmp_path):
    options = {"eval_strategy": "steps", "eval_steps": 2, "metric_for_best_model": "loss_r"}
    options |= {"greater_is_better": True, "save_total_limit": 1}  # the first is the best
    first = make(made[0], tmp_path / "here", eval_dataset=made[0][2], max_steps=4, **options)
    first.train()
    best = Path(first.state.best_model_checkpoint)
    assert best.name == "checkpoint-2" and best.is_dir(), "the best one is not rotated out"
    (tmp_path / "here").rename(tmp_path / "there")
    moved = make(made[0], tmp_path / "there", eval_dataset=made[0][2], **options)
    moved.train(resume_from_checkpoint=True)
    assert Path(moved.state.best_model_checkpoint).parent == tmp_path / "there"


def test_where_no_checkpoint_is_whole_nothing_begins_again(made, run):
    for step in (2, 4):
        (run / f"checkpoint-{step}" / "optimizer.pt").unlink()
    with pytest.raises(ValueError, match="nothing to go on from: .*checkpoint-4 is not whole: its"):
        make(made[0], run).train(resume_from_checkpoint=True)


@pytest.mark.parametrize("name", [*STATES, "model.safetensors", "balance_state.json"])
def test_a_checkpoint_that_is_named_is_refused_by_the_file_that_it_lacks(made, run, name):
    (run / "checkpoint-4" / name).unlink()
    trainer = make(made[0], run)
    with pytest.raises(ValueError, match=f"checkpoint-4 cannot be gone on from: its {name} is mis"):
        trainer.train(resume_from_checkpoint=str(run / "checkpoint-4"))
    assert vlm.largest_difference(trainer.model, made[0][0]) == 0.0, "nothing was loaded"


def test_a_damaged_checkpoint_is_not_diagnosed(run):
    (run / "checkpoint-4" / "optimizer.pt").unlink()  # not asked for
    load_vlm(run / "checkpoint-4")
    DAMAGES["truncated"](run / "checkpoint-4" / "model.safetensors")
    with pytest.raises(LoadingError, match="checkpoint-4 is damaged: its model.safetensors has"):
        load_vlm(run / "checkpoint-4")
    (run / "checkpoint-4" / MANIFEST).unlink()
    with pytest.raises(LoadingError, match="the weights in .* cannot be read"):
        load_vlm(run / "checkpoint-4")


# --- without a manifest: older versions, and other trainers ---------------------------------------


@pytest.fixture
def older(run):
    for step in (2, 4):
        (run / f"checkpoint-{step}" / MANIFEST).unlink()
    return run


def test_a_checkpoint_without_a_manifest_still_loads_with_a_note(made, older, caplog):
    (older / "checkpoint-4" / "balance_state.json").unlink()  # as one of stock TRL
    resumed = make(made[0], older, balance="token_mean", ngdiff_decay=0.0)
    with caplog.at_level(logging.WARNING):
        resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 6
    assert f"checkpoint-4 has no {MANIFEST}: an older version" in caplog.text
    assert "checkpoint-4 has no balance_state.json, whose state begins anew" in caplog.text


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("name", [*STATES, "model.safetensors"])
def test_one_without_a_manifest_is_not_gone_on_from_in_part(made, older, kind, name):
    DAMAGES[kind](older / "checkpoint-4" / name)
    assert last_checkpoint(older) == str(older / "checkpoint-2")
    with pytest.raises(ValueError, match=f"checkpoint-4 cannot be gone on from: it.*{name}"):
        make(made[0], older).train(resume_from_checkpoint=str(older / "checkpoint-4"))


def test_one_without_a_config_builds_no_model_of_default_size(made, older):
    (older / "checkpoint-4" / "config.json").unlink()
    with pytest.raises(ValueError, match="it has no config.json"):
        make(made[0], older).train(resume_from_checkpoint=str(older / "checkpoint-4"))


def test_the_weights_alone_are_not_gone_on_from(made, tmp_path):
    make(made[0], tmp_path, save_only_model=True, max_steps=2).train()
    with pytest.raises(ValueError, match="it has no optimizer.pt, the optimizer's state"):
        make(made[0], tmp_path).train(resume_from_checkpoint=True)


def test_the_checkpoint_of_another_trainer_is_refused(made, run):
    from percbal.models.manifest import seal

    (run / "checkpoint-4" / "balance_state.json").rename(run / "checkpoint-4" / "alpha_state.json")
    seal(run / "checkpoint-4")
    with pytest.raises(ValueError, match="it has no balance_state.json, another trainer wrote it"):
        make(made[0], run).train(resume_from_checkpoint=True)
