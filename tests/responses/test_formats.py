"""Facts about response formats: what each finds, and what it refuses to choose between."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from percbal.responses import json_text
from percbal.responses.formats import count_reasons, make_format
from percbal.responses.spans import DEFAULT_TAGS, Tags, find_spans

REGEX = r"regex:(?i)^seen:\s*(?P<perception>.*)^thought:(?P<reasoning>.*?)^said:\s*(?P<answer>.+)"
SPECS = [
    "tags",
    "json",
    "json:seen,why,say",
    "paper",
    "paper:coloring",
    "fence",
    "fence:json",
    "separator:---\\n",
    REGEX,
]
TEXTS = st.text("ab 0[]{}\"'`\\\n:,<>/-", max_size=30)
FENCED = "```json\n[[1]]\n```"


def parts(spec: str, text: str, tags: Tags = DEFAULT_TAGS) -> tuple[str | None, ...]:
    reading = make_format(spec, tags).read(text)
    return reading.perception, reading.reasoning, reading.answer


@pytest.mark.parametrize("spec", SPECS)
def test_what_a_format_writes_it_reads(spec):
    chosen = make_format(spec)
    text = chosen.write("[[1, 2]]", "so", "[[3, 4]]")
    assert [part and part.strip() for part in parts(spec, text)] == ["[[1, 2]]", "so", "[[3, 4]]"]
    assert text.startswith(chosen.beginning("[[1, 2]]"))
    assert chosen.read(chosen.beginning("[[1, 2]]")).perception.strip() == "[[1, 2]]"
    assert chosen.spec == spec and make_format(chosen.spec).read(text) == chosen.read(text)


JSON = '{"perception": "p", "reasoning": "r", "answer": "a"}'


@pytest.mark.parametrize(
    "text, found",
    [
        (JSON, ("p", "r", "a")),
        (f"Here it is:\n```json\n{JSON}\n```\nDone.", ("p", "r", "a")),
        ("A set {1, 2}, \\frac{1}{2} and [a]: " + JSON, ("p", "r", "a")),
        ('{"perception": [[1, -],\n[null, 2]], "answer": 4,}', ("[[1, -],\n[null, 2]]", None, "4")),
        ('{"perception": "two\nlines", "answer": "\\u00e9\\n\\("}', ("two\nlines", None, "é\n\\(")),
        ('{"perception": "\\ud83d\\ude00 \\ud83d"}', ("😀 \ufffd", None, None)),
        ('{"plan": "x", "perception": "", "answer": null}', ("", None, None)),
        ('{"perception": "p", "reasoning": "cut', ("p", None, None)),
        ('{"perception": "p", "answer": 1', ("p", None, None)),
    ],
)
def test_json_reads(text, found):
    assert parts("json", text) == found


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "no_object"),
        ("no JSON at all", "no_object"),
        ('{"seen": "p"}', "no_object"),
        (f"[{JSON}]", "no_object"),
        (f"{JSON} or {JSON}", "two_objects"),
        ('{"perception": "p" "answer": 1} ' + JSON, "two_objects"),
        (JSON + ' {"perception": "p', "two_objects"),
        ('{"perception": "the "x" cell", "answer": 1}', "broken"),
        ('{"perception": "a", "perception": "b"}', "repeated"),
        ('{"perception": "never ends', "unclosed"),
        ('{"perception": 12', "unclosed"),
        ('{"answer": "a", "perception": "p"}', "disordered"),
        ('{"perception": "a </perception> b"}', "tag_inside"),
        ('{"perception": null, "answer": 1}', "missing"),
    ],
)
def test_json_refuses(text, reason):
    reading = make_format("json").read(text)
    assert reading.perception is None and reading.reason() == reason
    assert reading.problem("perception")


@pytest.mark.parametrize(
    "spec, text, found",
    [
        ("fence", f"I see\n{FENCED}\nso\n**Final answer:** 4", ("[[1]]", "\nso\n", "4")),
        ("fence", "~~~\n```\n~~~\nso", ("```", "\nso", None)),
        ("fence", "```\n\n```", ("", None, None)),
        ("fence:json", f"{FENCED}\nso\n```py\n1\n```", ("[[1]]", "\nso\n```py\n1\n```", None)),
        ("separator:---", "p --- r\nAnswer: a", ("p ", " r\n", "a")),
        ("separator:\\n\\n", "p\n\nr", ("p", "r", None)),
        (
            "paper",
            "The [given] grid: [[1]] r [2, 3] and [[4]]",
            ("[[1]]", " r [2, 3] and ", "[[4]]"),
        ),
        ("paper", '[[1, "-"]] r \\boxed{[[4]]}', ('[[1, "-"]]', " r ", "[[4]]")),
        ("paper:coloring", '[[0, 1]] so {"0": "a"} done', ("[[0, 1]]", " so ", '{"0": "a"}')),
        ("none", "I think so.\n\\boxed{a{b}c}", (None, None, "a{b}c")),
        ("none", "just 4", (None, None, "just 4")),
        (REGEX, "Seen: p\nThought: r\nSaid: a", ("p\n", " r\n", "a")),
        (REGEX, "Seen: p\nThought: r", ("p\n", None, None)),
    ],
)
def test_text_reads(spec, text, found):
    assert parts(spec, text) == found


@pytest.mark.parametrize(
    "spec, text, name, reason",
    [
        ("fence", "none here", "perception", "no_fence"),
        ("fence", f"{FENCED}\n{FENCED}", "perception", "two_fences"),
        ("fence:json", f"{FENCED}\n```JSON\n1", "perception", "two_fences"),
        ("fence", "```\nnever closed", "perception", "unclosed"),
        ("fence", f"{FENCED}\nAnswer: 1\nAnswer: 2", "answer", "two_answers"),
        ("fence", f"{FENCED}\n\\boxed{{1}} \\boxed{{1}}", "answer", "two_answers"),
        ("fence", f"{FENCED}\n\\boxed{{1}}\nAnswer: 1", "answer", "two_answers"),
        ("fence", f"{FENCED}\nAnswer:", "answer", "missing"),
        ("separator:---", "p", "perception", "no_separator"),
        ("separator:---", "p --- r --- a", "perception", "two_separators"),
        ("separator:---", "p ----", "perception", "two_separators"),
        ("paper", "The grid cannot be read.", "perception", "no_list"),
        ("paper", "[[1, 2", "perception", "unclosed"),
        ("paper", "[[1 2]] then [[3]]", "perception", "broken"),
        ("paper", "[[1]] so", "answer", "missing"),
        ("none", "p", "perception", "no_format"),
        ("none", "Answer: 1\nAnswer: 2", "answer", "two_answers"),
        (REGEX, "p", "perception", "no_mark"),
        (REGEX, "Seen: p\nThought: r\nThought: q", "perception", "two_marks"),
        (REGEX, "Thought: r\nSeen: p", "perception", "disordered"),
        ("tags", "<perception> a", "perception", "unclosed"),
    ],
)
def test_text_refuses(spec, text, name, reason):
    reading = make_format(spec).read(text)
    assert reading.text(name) is None and reading.reason(name) == reason
    assert count_reasons([reading, reading])[f"{name} {reason}"] == 2


P = "(?P<perception>.*)"
BAD = [
    "",
    "x",
    "tags:",
    "none:1",
    "json:",
    "json:a,b",
    "json:a,a,b",
    "paper:x",
    "fence:",
    "fence:a b",
]
BAD += ["separator", "separator:", "regex:", f"regex:x{P}[", f"regex:{P}", "regex:x(?P<answer>.*)"]
BAD += [f"regex:{P}(?P<answer>.*)x", f"regex:x(?P<answer>.*)y{P}", "regex:x(?P<perception>(a*)*)y"]
BAD += [
    f"regex:{mark}{P}" for mark in ("x*", ".*x", "(?:a|b)+", "(a+)x", "a++", "a{9}", "a|b", "(?=x)")
]
BAD += [f"regex:x{P}(?P=perception)", f"regex:{'(?:a|a)' * 9}{P}", f"regex:{'a?' * 9}x{P}"]


@pytest.mark.parametrize("spec", BAD)
def test_an_unusable_format_is_refused_in_one_sentence(spec):
    with pytest.raises(ValueError) as error:
        make_format(spec)
    assert str(error.value) and "\n" not in str(error.value)


def test_a_pattern_without_one_text_cannot_be_written():
    chosen = make_format(r"regex:\d(?P<perception>.*)end")
    assert chosen.instruction() is None
    with pytest.raises(ValueError, match="is not one text"):
        chosen.beginning("p")


OTHERS = [
    '{"perception": "',
    '[[1, "-"], ',
    "```\n",
    "```json\n",
    "---\n",
    "seen: ",
    "\nThought:",
    "\nSaid:",
    "<perception>",
    "</perception>",
    "\\boxed{",
    "\nAnswer:",
    "\\u12",
    '", "answer": ',
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(TEXTS, st.sampled_from(OTHERS)), max_size=12).map("".join))
def test_nothing_raises_and_whoever_reads_the_tagged_text_finds_the_same(text):
    for spec in [*SPECS, "none"]:
        chosen = make_format(spec)
        reading, spans = chosen.read(text), find_spans(chosen.tagged(text))
        for name in ("perception", "reasoning", "answer"):
            assert getattr(spans, name) == reading.text(name)
            assert (reading.text(name) is None) == bool(reading.reason(name))
            if name in reading.parts:
                _, outer, inner = reading.parts[name]
                assert 0 <= outer[0] <= inner[0] <= inner[1] <= outer[1] <= len(text)
        assert count_reasons([reading]) == {
            f"{n} {r.reason}": 1 for n, r in reading.refusals.items()
        }


def test_the_default_tags_stay_as_they_are_and_others_become_them():
    other = Tags(perception=("<see>", "</see>"))
    text = "<see>a</see> b <answer>c</answer>"
    assert make_format("tags").tagged("x <perception> a") == "x <perception> a"
    assert (
        make_format("tags", other).tagged(text) == "<perception>a</perception> <answer>c</answer>"
    )


ATTACKS = [
    "[",
    "{",
    '{"',
    '["\\"',
    '{"perception": [',
    '{"perception":',
    "[[1],",
    '"',
    "\\boxed{",
    "```\n",
    "~~~~",
    " ",
    "\n",
    "answer: \n",
    "* # > ",
    "<perception>",
    "\\u0",
    "seen: \n",
    "[ ",
]


class Counted:
    """A pattern that counts what it looks at."""

    def __init__(self, pattern):
        self.pattern, self.characters = pattern, 0

    def match(self, text, at):
        found = self.pattern.match(text, at)
        self.characters += 1 if found is None else len(found.group()) + 1
        return found

    def search(self, text, at):
        found = self.pattern.search(text, at)
        self.characters += (len(text) if found is None else found.end()) - at
        return found


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(TEXTS, st.sampled_from(ATTACKS)), max_size=20).map("".join))
def test_json_looks_at_a_character_a_few_times_at_most(text):
    with pytest.MonkeyPatch.context() as patch:
        patterns = [
            Counted(getattr(json_text, name)) for name in ("OPENING", "SPACE", "STRING", "WORD")
        ]
        for name, pattern in zip(("OPENING", "SPACE", "STRING", "WORD"), patterns, strict=True):
            patch.setattr(json_text, name, pattern)
        json_text.scan(text)
    assert sum(pattern.characters for pattern in patterns) <= 4 * len(text) + 4


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_long_text_is_read_by_every_format(attack):
    """Recursion would fail, and a pattern that goes back and forth would not come to an end."""
    text = attack * (10_000 // len(attack))
    for spec in [*SPECS, "none"]:
        make_format(spec).read(text)
        make_format(spec).read(text + "x")
