"""Run by test_sft.py under torchrun: two ranks train on halves of a batch, then save."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import vlm_fixtures as vlm

from percbal.loading import load_vlm

directory = Path(sys.argv[1])
for balance in sys.argv[2:]:
    model, processor = load_vlm(directory / "model")
    examples = [vlm.example_at(i) for i in range(16)]
    options = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    args = vlm.config(directory, balance=balance, ddp_backend="gloo", **options)
    trainer = vlm.train(model, processor, vlm.encoded(processor, examples), args)
    if trainer.is_world_process_zero():
        trainer.model.save_pretrained(directory / balance)
        (directory / f"{balance}.json").write_text(json.dumps(trainer.state.log_history))
