"""The options that say how responses are written, the same for training and for diagnosis."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from percbal.responses.asking import Asking
from percbal.responses.formats import FORMATS, Format, make_format
from percbal.responses.spans import DEFAULT_TAGS, Tags


@dataclass
class ResponseFormatArguments:
    """How a response marks its parts, and whether a prompt says so."""

    HELP_GROUP: ClassVar[str] = "response format"

    response_format: str = field(
        default="tags", metadata={"help": f"How a response marks its parts: {FORMATS}."}
    )
    perception_tags: list[str] = field(
        default_factory=lambda: list(DEFAULT_TAGS.perception),
        metadata={"help": "Opening and closing tag of a response's perception, for format tags."},
    )
    state_format: bool = field(
        default=False, metadata={"help": "Say in every prompt how the response is to be written."}
    )
    format_examples: str | None = field(
        default=None,
        metadata={
            "help": 'JSON lines of {"prompt", "response"}, shown before every prompt as examples.'
        },
    )

    def tags(self) -> Tags:
        """The tags of the format ``tags``. Raises ValueError unless they are two strings."""
        if len(self.perception_tags) != 2:
            raise ValueError(f"perception_tags must be two strings, got {self.perception_tags!r}")
        opening, closing = self.perception_tags
        return Tags(perception=(opening, closing))

    def make_format(self) -> Format:
        """The format that the options name. Raises ValueError where they name none."""
        tags = self.tags()
        if self.response_format != "tags" and tags != DEFAULT_TAGS:
            raise ValueError(
                f"perception_tags belong to response_format tags, not to {self.response_format!r}"
            )
        return make_format(self.response_format, tags)

    def asking(self, template: Mapping[str, Any] | str | None = None) -> Asking:
        """How a model is asked by these options. template: those of the chat template, or JSON."""
        options = _template_options(template) if isinstance(template, str) else template
        return Asking(self.make_format(), self.state_format, self.examples(), options or {})

    def examples(self) -> list[dict[str, str]]:
        """What ``format_examples`` holds, for `percbal.responses.formats.stated`."""
        return [] if self.format_examples is None else read_examples(self.format_examples)


def _template_options(text: str) -> dict[str, Any]:
    try:
        options = json.loads(text)
    except (ValueError, RecursionError):
        options = None
    if not isinstance(options, dict):
        raise ValueError(f"chat_template_kwargs must be a JSON object, got {text!r:.60}")
    return options


def read_examples(path: str) -> list[dict[str, str]]:
    """The examples of a file. Raises ValueError that names the file and the line."""
    examples = []
    try:
        with open(path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    examples.append(_example(line, f"line {number} of {path}"))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"format_examples: cannot read {path}: {error}") from None
    return examples


def _example(line: str, where: str) -> dict[str, str]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    texts = [row.get(key) for key in ("prompt", "response")] if isinstance(row, dict) else []
    if len(texts) != 2 or not all(isinstance(text, str) for text in texts):
        raise ValueError(f'{where} must be {{"prompt": text, "response": text}}')
    return {"prompt": row["prompt"], "response": row["response"]}
