"""Completions and prompts for the tests of the rewards."""

from __future__ import annotations

from PIL import Image


def said(perception=None, answer=None, reasoning="so") -> str:
    spans = {"perception": perception, "reasoning": reasoning, "answer": answer}
    return " ".join(f"<{n}> {text} </{n}>" for n, text in spans.items() if text is not None)


def turns(text: str) -> list[dict]:
    return [{"role": "assistant", "content": text}]


def picture(value: int) -> Image.Image:
    return Image.new("L", (4, 4), value)


def ask(image=None, text="what?") -> list[dict]:
    content = [{"type": "image", "image": image}, {"type": "text", "text": text}]
    return [{"role": "user", "content": content if image is not None else text}]
