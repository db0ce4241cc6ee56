"""How a model is asked, as one object: fine-tuning, GRPO and diagnosis are given the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from percbal.responses.format_base import Format
from percbal.responses.format_tags import TagFormat
from percbal.responses.format_text import NoFormat
from percbal.responses.formats import stated
from percbal.responses.prompt import Messages, with_options
from percbal.responses.spans import DEFAULT_TAGS
from percbal.responses.thoughts import OPENING


@dataclass(frozen=True)
class Asking:
    """The format of responses, whether prompts state it, and options of the chat template.

    state: the prompt says how the response is to be written.
    examples: ``{"prompt": .., "response": ..}`` each, shown before every prompt.
    template: options of the chat template, such as ``{"enable_thinking": False}``.
    """

    response_format: Format = field(default_factory=TagFormat)
    state: bool = False
    examples: Sequence[Mapping[str, str]] = ()
    template: Mapping[str, Any] = field(default_factory=dict)

    @property
    def plain(self) -> bool:
        """Whether responses are in the default tags, which every task and reward reads."""
        chosen = self.response_format
        return isinstance(chosen, TagFormat) and chosen.tags == DEFAULT_TAGS

    @property
    def adds(self) -> bool:
        """Whether prompts get more than they have."""
        return self.state or bool(self.examples)

    def prompt(self, messages: Messages, options: Mapping[str, Any] | None = None) -> Any:
        """The messages that are rendered. options: the row's own, of the chat template."""
        asked: Any = messages
        if self.state:
            asked = stated(asked, self.response_format, self.examples)
        elif self.examples:
            asked = stated(asked, NoFormat(), self.examples)  # the examples speak for it
        return with_options(with_options(asked, self.template), options)

    def read(self, text: str, *, thinking: bool = False) -> str:
        """A response in the default tags, for whoever reads only those.

        thinking: its prompt opened a block of thoughts, which the text goes on with.
        """
        whole = OPENING + text if thinking else text
        return whole if self.plain else self.response_format.tagged(whole)
