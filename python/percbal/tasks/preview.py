"""Hands a task to a training engine: images and JSON lines, which grow and survive a stop."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from percbal.tasks.base import Instance, Task
from percbal.tasks.files import check_count, make_directory, write_whole
from percbal.tasks.sheet import save_preview as save_preview  # where it stood before


def export_jsonl(
    task: Task, split: str, n: int, out_dir: str | os.PathLike[str], seed: int = 0
) -> Path:
    """Write ``n`` instances as ``<split>.jsonl`` and ``images/<split>-<index>.png``.

    Each line is a JSON object: ``messages`` (a user turn with an image and a text part, an
    assistant turn with the response), ``prompt`` (the user turn alone), ``images`` (paths relative
    to ``out_dir``), ``segments`` (the response cut into perception, reasoning and answer), ``task``
    (its name), ``perception`` (p*), ``answer`` (one right answer), ``truth`` (for ``Task.score``).

    The lines grow in ``<split>.jsonl.part``, which takes its final name when all are there. Call
    again after an interruption, or with a larger ``n``, and it goes on after the last whole line.
    ValueError if ``n`` is not positive, if the directory cannot be written to, or if it holds an
    export of another task, other options or another seed.
    """
    check_count(n)
    directory = Path(out_dir)
    make_directory(directory)
    make_directory(directory / "images")
    _claim(directory / f"{split}.meta.json", {"task": task.describe(), "seed": seed})
    target = directory / f"{split}.jsonl"
    part = directory / f"{split}.jsonl.part"
    if _whole_lines(target) >= n:
        return target
    if target.exists() and not part.exists():
        write_whole(part, lambda copy: copy.write_bytes(target.read_bytes()))
    done = _cut_to_whole_lines(part)
    with open(part, "a", encoding="utf-8") as lines:
        for index in tqdm(range(done, n), initial=done, total=n, desc=f"{split} instances"):
            instance = task.generate(index, split, seed)
            image = f"images/{split}-{index:06d}.png"
            write_whole(directory / image, partial(instance.image.save, format="PNG"))
            lines.write(json.dumps(_row(instance, image)) + "\n")
    os.replace(part, target)
    return target


def _row(instance: Instance, image: str) -> dict[str, Any]:
    question = [{"type": "image"}, {"type": "text", "text": instance.query}]
    response = [{"type": "text", "text": instance.response}]
    user = {"role": "user", "content": question}
    return {
        "messages": [user, {"role": "assistant", "content": response}],
        "prompt": [user],
        "images": [image],
        "segments": instance.segments,
        "task": instance.task,
        "perception": instance.perception,
        "answer": instance.answer,
        "truth": instance.truth,
    }


def _claim(meta: Path, made_with: dict[str, Any]) -> None:
    """Note what an export is made with, or refuse to mix it with another."""
    if not meta.exists():
        write_whole(meta, lambda part: part.write_text(json.dumps(made_with), encoding="utf-8"))
        return
    try:
        found = json.loads(meta.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise ValueError(f"{meta} cannot be read; choose a new directory") from None
    if found != made_with:
        raise ValueError(f"{meta.parent} holds another export ({found}); choose a new directory")


def _whole_lines(path: Path) -> int:
    if not path.exists():
        return 0
    with open(path, "rb") as lines:
        return sum(line.endswith(b"\n") for line in lines)


def _cut_to_whole_lines(path: Path) -> int:
    """Drop what an interruption left of a last line; returns how many lines remain."""
    if not path.exists():
        return 0
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
    return content.count(b"\n")
