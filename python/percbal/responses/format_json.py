"""The format in which a response is a JSON object, in a code fence or not, words around or not."""

from __future__ import annotations

import json

from percbal.responses.format_base import Format
from percbal.responses.json_text import Value, scan
from percbal.responses.reading import Part, Reading, Refusal, make_reading
from percbal.responses.spans import NAMES


class JsonFormat(Format):
    """An object with a key for each part; ``json:seen,thought,answer`` names others.

    Further keys are further parts, each of its own name.
    """

    name = "json"

    def __init__(self, keys: tuple[str, ...] = NAMES) -> None:
        if len(set(keys)) != len(keys) or not all(keys) or {*keys[3:]} & {*NAMES}:
            raise ValueError(
                f"json needs three different keys, and further ones of other names, got "
                f"{', '.join(keys)}"
            )
        self.keys = dict(zip((*NAMES, *keys[3:]), keys, strict=True))
        self.spec = "json" if keys == NAMES else f"json:{','.join(keys)}"

    def _read(self, text: str) -> Reading:
        found = scan(text)
        whole = [value for value in found.whole if self._is_ours(value)]
        broken = [value for value in found.broken if self._is_ours(value)]
        cut = [found.cut] if found.cut is not None and self._is_ours(found.cut) else []
        if len(whole) + len(broken) + len(cut) > 1:
            why = Refusal("two_objects", "there is more than one JSON object with such keys")
            return make_reading(text, dict.fromkeys(self.keys, why))
        if broken:
            why = Refusal("broken", "the JSON object is not valid JSON")
            return make_reading(text, dict.fromkeys(self.keys, why))
        if not whole and not cut:
            why = Refusal(
                "no_object", f"there is no JSON object with the key {self.keys[NAMES[0]]}"
            )
            return make_reading(text, dict.fromkeys(self.keys, why))
        (value,) = whole or cut
        return make_reading(text, {name: self._part(text, value, name) for name in self.keys})

    def _is_ours(self, value: Value) -> bool:
        keys = self.keys.values()
        ours = any(key in keys for key, _, _ in value.members)
        return value.kind == "{" and (ours or _key_at_the_end(value) in keys)

    def _part(self, text: str, whole: Value, name: str) -> Part | Refusal | None:
        key = self.keys[name]
        found = [(start, value) for other, start, value in whole.members if other == key]
        if _key_at_the_end(whole) == key:
            return Refusal("unclosed", f"the value of {key} has no end")
        if len(found) > 1:
            return Refusal("repeated", f"the key {key} occurs {len(found)} times")
        if not found:
            return Refusal("missing", f"the object has no key {key}")
        start, value = found[0]
        if value.kind == "word" and value.end == len(text):
            return Refusal("unclosed", f"the value of {key} has no end")
        if value.kind == "word" and value.source(text) == "null":
            return Refusal("missing", f"{key} is null")
        inner = (value.start + 1, value.end - 1) if value.kind == '"' else (value.start, value.end)
        return Part(value.text(text), (start, value.end), inner)

    def write(self, perception: str, reasoning: str, answer: str) -> str:
        keys = [self.keys[name] for name in NAMES]
        texts = zip(keys, (perception, reasoning, answer), strict=True)
        return json.dumps(dict(texts), ensure_ascii=False)

    def beginning(self, perception: str) -> str:
        return json.dumps({self.keys["perception"]: perception}, ensure_ascii=False)[:-1]

    def instruction(self) -> str:
        p, r, a, *_ = self.keys.values()
        return (
            f'Answer with one JSON object with the keys "{p}" (what the image shows), "{r}" (your '
            f'reasoning) and "{a}" (the final answer), in this order.'
        )


def _key_at_the_end(value: Value) -> str | None:
    """The key whose value was being read where an object was cut or broke."""
    key = getattr(value, "key", None)
    return key[0] if key else None
