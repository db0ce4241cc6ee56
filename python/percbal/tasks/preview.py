"""Look at a task (one contact sheet) or hand it to a training engine (images and JSON lines)."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from percbal.tasks.base import Instance, Task

TILE = 256  # pixels a picture takes on the contact sheet
CAPTION_LINES, CAPTION_CHARS = 4, 44  # per text; longer ones are abridged
LINE_HEIGHT = 13
SHEET_COLUMNS = 4


def save_preview(task: Task, n: int, path: str | os.PathLike[str]) -> Path:
    """Write one PNG with the first ``n`` training instances and their texts, abridged.

    ValueError if ``n`` is not positive or the file cannot be written.
    """
    _check_count(n)
    target = Path(path)
    instances = [task.generate(index, "train", seed=0) for index in range(n)]
    columns = min(n, SHEET_COLUMNS)
    height = TILE + 3 * (CAPTION_LINES + 1) * LINE_HEIGHT
    rows = -(-n // columns)
    sheet = Image.new("RGB", (columns * (TILE + 8), rows * (height + 8)), "white")
    for index, instance in enumerate(instances):
        row, column = divmod(index, columns)
        _draw_tile(sheet, column * (TILE + 8) + 4, row * (height + 8) + 4, instance)
    _make_directory(target.parent)
    _write_whole(target, partial(sheet.save, format="PNG"))
    return target


def _draw_tile(sheet: Image.Image, left: int, top: int, instance: Instance) -> None:
    picture = instance.image.convert("RGB")
    # whole-number scaling, so that the pixels a model sees can be counted
    scale = max(1, TILE // max(picture.size))
    picture = picture.resize(
        (picture.width * scale, picture.height * scale), Image.Resampling.NEAREST
    )
    picture.thumbnail((TILE, TILE))
    sheet.paste(picture, (left, top))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=10)
    y = top + TILE + 2
    for name in ("perception", "reasoning", "answer"):
        text = getattr(instance, name)
        draw.text((left, y), f"{name}, {len(text.split())} words", fill="firebrick", font=font)
        for line, caption in enumerate(_abridged(text), start=1):
            draw.text((left, y + line * LINE_HEIGHT), caption, fill="black", font=font)
        y += (CAPTION_LINES + 1) * LINE_HEIGHT


def _abridged(text: str) -> list[str]:
    # no more of a long text is wrapped than can be shown
    shown = text[: 2 * CAPTION_LINES * CAPTION_CHARS]
    return textwrap.wrap(shown, CAPTION_CHARS, max_lines=CAPTION_LINES, placeholder=" ..")


def export_jsonl(
    task: Task, split: str, n: int, out_dir: str | os.PathLike[str], seed: int = 0
) -> Path:
    """Write ``n`` instances as ``<split>.jsonl`` and ``images/<split>-<index>.png``.

    Each line is a JSON object: ``messages`` (a user turn with an image and a text part, an
    assistant turn with the response), ``prompt`` (the user turn alone), ``images`` (paths relative
    to ``out_dir``), ``segments`` (the response cut into perception and reasoning), ``task`` (its
    name), ``perception`` (p*), ``answer`` (one right answer), ``truth`` (for ``Task.score``).

    The lines grow in ``<split>.jsonl.part``, which takes its final name when all are there. Call
    again after an interruption, or with a larger ``n``, and it goes on after the last whole line.
    ValueError if ``n`` is not positive, if the directory cannot be written to, or if it holds an
    export of another task, other options or another seed.
    """
    _check_count(n)
    directory = Path(out_dir)
    _make_directory(directory)
    _make_directory(directory / "images")
    _claim(directory / f"{split}.meta.json", {"task": task.describe(), "seed": seed})
    target = directory / f"{split}.jsonl"
    part = directory / f"{split}.jsonl.part"
    if _whole_lines(target) >= n:
        return target
    if target.exists() and not part.exists():
        _write_whole(part, lambda copy: copy.write_bytes(target.read_bytes()))
    done = _cut_to_whole_lines(part)
    with open(part, "a", encoding="utf-8") as lines:
        for index in tqdm(range(done, n), initial=done, total=n, desc=f"{split} instances"):
            instance = task.generate(index, split, seed)
            image = f"images/{split}-{index:06d}.png"
            _write_whole(directory / image, partial(instance.image.save, format="PNG"))
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


def _check_count(n: int) -> None:
    if n < 1:
        raise ValueError(f"the number of instances must be 1 or more, got {n}")


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise ValueError(f"{directory} is a file, not a directory") from None
    except OSError as error:
        raise ValueError(f"cannot write to directory {directory}: {error.strerror}") from None


def _claim(meta: Path, made_with: dict[str, Any]) -> None:
    """Note what an export is made with, or refuse to mix it with another."""
    if not meta.exists():
        _write_whole(meta, lambda part: part.write_text(json.dumps(made_with), encoding="utf-8"))
        return
    try:
        found = json.loads(meta.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise ValueError(f"{meta} cannot be read; choose a new directory") from None
    if found != made_with:
        raise ValueError(f"{meta.parent} holds another export ({found}); choose a new directory")


def _write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file so that its name never stands for half of it."""
    part = path.with_name(path.name + ".tmp")
    try:
        write(part)
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise ValueError(f"cannot write {path}: {error.strerror}") from None


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
