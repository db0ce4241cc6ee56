"""Tiny checkpoints of real model families, and rows to train them on.

Each is written by ``save_pretrained`` from the family's own config, model, processor and tokenizer
classes, with its published chat template and seeded weights: what a user's directory holds, small.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import num2words  # noqa: F401  SmolVLM's processor needs it
import numpy as np
import pytest
import torchvision  # noqa: F401  most families' image and video processors need it
import zoo_llava
import zoo_others
import zoo_qwen
from PIL import Image


class Family(NamedTuple):
    build: Callable[[Path], Path]  # writes a checkpoint into the directory and returns it
    must_work: bool = True  # else: refused in one sentence
    fast: bool = False  # part of `make test`


FAMILIES = {
    "llava": Family(zoo_llava.llava, fast=True),
    "llava_next": Family(zoo_llava.llava_next),
    "llava_onevision": Family(zoo_llava.llava_onevision),
    "qwen2_vl": Family(zoo_qwen.qwen2_vl),
    "qwen2_5_vl": Family(zoo_qwen.qwen2_5_vl),
    "qwen3_vl": Family(zoo_qwen.qwen3_vl, fast=True),
    "qwen3_vl_tied": Family(zoo_qwen.qwen3_vl_tied),
    "qwen3_vl_thinking": Family(zoo_qwen.qwen3_vl_thinking),
    "qwen3_5_think": Family(zoo_qwen.qwen3_5),
    "qwen3_5_nothink": Family(zoo_qwen.qwen3_5_nothink),
    "internvl": Family(zoo_others.internvl),
    "smolvlm": Family(zoo_others.smolvlm),
    "idefics3": Family(zoo_others.idefics3),
    "gemma3": Family(zoo_llava.gemma3),
    "mistral3": Family(zoo_others.mistral3),
    "paligemma2": Family(zoo_llava.paligemma2, must_work=False),
    "mllama": Family(zoo_others.mllama, must_work=False),
    "internvl_original": Family(zoo_others.internvl_original, must_work=False),
}
WORKING = [name for name, family in FAMILIES.items() if family.must_work]
EACH = pytest.mark.parametrize(  # a test for each family that must work
    "family",
    [
        pytest.param(name, marks=() if FAMILIES[name].fast else pytest.mark.families)
        for name in WORKING
    ],
)

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 60), "blue": (40, 60, 220), "white": (240,) * 3}
QUERY = "Which colours are in the picture?"


def picture(index: int, size: tuple[int, int] = (32, 32)) -> tuple[Image.Image, list[str]]:
    """A picture of 2 x 2 coloured squares, and their colours row by row; the first eight differ.

    size: (width, height) in pixels.
    """
    drawn = np.random.default_rng(index).integers(0, len(COLOURS), 4)
    names = [list(COLOURS)[i] for i in drawn]
    squares = np.array([COLOURS[name] for name in names], np.uint8).reshape(2, 2, 3)
    return Image.fromarray(squares).resize(size, Image.Resampling.NEAREST), names


def task_rows(n: int = 4, size: tuple[int, int] = (32, 32)) -> list[dict[str, Any]]:
    """Rows with one prompt and n pictures, whose perceptions and answers differ."""
    rows = []
    for index in range(n):
        image, names = picture(index, size)
        reds = names.count("red")
        rows.append(row(image, " ".join(names), f"There are {reds} red squares.", str(reds)))
    return rows


def mixed_rows() -> list[dict[str, Any]]:
    """Four rows: pictures of three shapes, in one to five tiles, and prompts of unequal lengths."""
    rows = []
    for index, size in enumerate([(32, 32), (32, 32), (80, 48), (96, 32)]):
        made = task_rows(index + 1, size)[index]
        made["prompt"] = [{"role": "user", "content": QUERY + " Look closely." * index}]
        rows.append(made)
    return rows


def row(image: Image.Image, perception: str, reasoning: str, answer: str) -> dict[str, Any]:
    response = (
        f"<perception> {perception} </perception> <reasoning> {reasoning} </reasoning> "
        f"<answer> {answer} </answer>"
    )
    return {
        "images": [image],
        "prompt": [{"role": "user", "content": QUERY}],
        "completion": [{"role": "assistant", "content": response}],
        "perception": perception,
        "answer": answer,
    }
