"""The format in which each part stands between two tags (`percbal.responses.spans`)."""

from __future__ import annotations

from percbal.responses.format_base import Format
from percbal.responses.reading import Area, Part, Reading, Refusal, make_reading
from percbal.responses.spans import DEFAULT_TAGS, Spans, Tags, find_spans
from percbal.responses.thoughts import without_thoughts


class TagFormat(Format):
    """The default tags, or others."""

    name = spec = "tags"

    def __init__(self, tags: Tags = DEFAULT_TAGS) -> None:
        self.tags = tags
        self.fixed = tags.words()

    def _read(self, text: str) -> Reading:
        spans = find_spans(text, self.tags)
        return make_reading(text, {name: self._part(spans, name) for name in spans.found})

    def _part(self, spans: Spans, name: str) -> Part | Refusal:
        status, start, end = spans.found[name]
        if status != "ok":
            return Refusal(status, spans.problem(name))
        opening, closing = getattr(self.tags, name)
        outer = start - len(opening), end + len(closing)
        return Part(spans.source[start:end], outer, (start, end))

    def tagged(self, text: str) -> str:
        return without_thoughts(text) if self.tags == DEFAULT_TAGS else super().tagged(text)

    def _marks(self, text: str) -> list[Area]:
        """Every tag, also of parts that do not count."""
        areas = []
        for tag in self.tags.words():
            start = text.find(tag)
            while start >= 0:
                areas.append((start, start + len(tag)))
                start = text.find(tag, start + len(tag))
        return areas

    def _unclosed(self, text: str) -> Area | None:
        """From the opening tag to the next tag, or to the end."""
        if find_spans(text, self.tags).found["perception"].status != "unclosed":
            return None
        start = text.index(self.tags.perception[0])
        inside = start + len(self.tags.perception[0])
        others = (text.find(tag, inside) for tag in (*self.tags.reasoning, *self.tags.answer))
        return start, min((at for at in others if at >= 0), default=len(text))

    def write(self, perception: str, reasoning: str, answer: str) -> str:
        texts = zip(self.tags.pairs().values(), (perception, reasoning, answer), strict=True)
        return " ".join(f"{opening} {text} {closing}" for (opening, closing), text in texts)

    def beginning(self, perception: str) -> str:
        opening, closing = self.tags.perception
        return f"{opening} {perception} {closing}"

    def instruction(self) -> str:
        (p, p_end), (r, r_end), (a, a_end) = self.tags.pairs().values()
        return (
            f"First write what the image shows between {p} and {p_end}. Then write your reasoning "
            f"between {r} and {r_end}, and the final answer between {a} and {a_end}. Write each "
            "tag exactly once."
        )
