"""Facts about prompts that state a format, and about the options for it."""

from __future__ import annotations

import copy

import pytest

from percbal.responses.formats import make_format, stated
from percbal.responses.options import ResponseFormatArguments
from percbal.responses.spans import Tags

SYSTEM = {"role": "system", "content": "Be brief."}
PARTS = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Solve it."}]}
PLAIN = {"role": "user", "content": "Solve it."}
EXAMPLE = {"prompt": "How many?", "response": "<perception> 2 dots </perception> .."}
JSON = make_format("json")


@pytest.mark.parametrize("prompt", [[PLAIN], [SYSTEM, PLAIN], [PARTS], [PLAIN, SYSTEM, PARTS]])
@pytest.mark.parametrize("system", [False, True])
def test_the_input_is_not_changed(prompt, system):
    before = copy.deepcopy(prompt)
    stated(prompt, JSON, [EXAMPLE], system=system)
    assert prompt == before


def test_the_instruction_follows_the_last_users_words():
    words = f"Solve it.\n\n{JSON.instruction()}"
    assert stated([PLAIN], JSON) == [{"role": "user", "content": words}]
    (message,) = stated([PARTS], JSON)
    assert message["content"] == [{"type": "image"}, {"type": "text", "text": words}]
    (message,) = stated([{"role": "user", "content": [{"type": "image"}]}], JSON)
    assert message["content"][1] == {"type": "text", "text": JSON.instruction()}
    first = {"role": "assistant", "content": "Yes?"}
    assert [m["content"] for m in stated([PLAIN, first, PLAIN], JSON)] == [
        "Solve it.",
        "Yes?",
        words,
    ]


def test_a_system_message_can_state_it():
    told = stated([SYSTEM, PLAIN], JSON, system=True)
    assert told == [{"role": "system", "content": f"Be brief.\n\n{JSON.instruction()}"}, PLAIN]
    told = stated([PARTS], JSON, system=True)
    content = [{"type": "text", "text": JSON.instruction()}]
    assert told == [{"role": "system", "content": content}, PARTS]


def test_examples_are_earlier_turns_after_the_systems():
    told = stated([SYSTEM, PARTS], make_format("none"), [EXAMPLE, EXAMPLE])
    assert [m["role"] for m in told] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert told[1]["content"] == [{"type": "text", "text": "How many?"}]
    assert told[2]["content"][0]["text"] == EXAMPLE["response"]
    assert told[-1] == PARTS


def test_a_prompt_without_a_user_is_refused():
    with pytest.raises(ValueError, match="needs a user message"):
        stated([SYSTEM], JSON)


def test_the_options_make_a_format():
    assert ResponseFormatArguments().make_format().spec == "tags"
    options = ResponseFormatArguments(perception_tags=["<see>", "</see>"])
    assert options.make_format().read("<see>a</see>").perception == "a"
    assert options.tags() == Tags(perception=("<see>", "</see>"))
    assert ResponseFormatArguments(response_format="fence:json").make_format().spec == "fence:json"
    with pytest.raises(ValueError, match="perception_tags belong to response_format tags"):
        ResponseFormatArguments("json", ["<see>", "</see>"]).make_format()
    with pytest.raises(ValueError, match="perception_tags must be two strings"):
        ResponseFormatArguments(perception_tags=["<see>"]).make_format()
    with pytest.raises(ValueError, match="unknown response format 'xml'"):
        ResponseFormatArguments("xml").make_format()


def test_examples_come_from_a_file(tmp_path):
    path = tmp_path / "shots.jsonl"
    path.write_text('{"prompt": "p", "response": "r", "more": 1}\n\n')
    assert ResponseFormatArguments(format_examples=str(path)).examples() == [
        {"prompt": "p", "response": "r"}
    ]
    assert ResponseFormatArguments().examples() == []
    for line in ("{", "[]", '{"prompt": "p"}', '{"prompt": 1, "response": "r"}', "[" * 10**5):
        path.write_text('{"prompt": "p", "response": "r"}\n' + line)
        with pytest.raises(ValueError, match=f"line 2 of {path} must be"):
            ResponseFormatArguments(format_examples=str(path)).examples()
    for bad in (tmp_path / "none", tmp_path):
        with pytest.raises(ValueError, match="format_examples: cannot read"):
            ResponseFormatArguments(format_examples=str(bad)).examples()


@pytest.mark.parametrize("text", ["{", "[1]", pytest.param("[" * 100_000, id="deep")])
def test_options_of_a_template_that_are_none_are_a_sentence(text):
    with pytest.raises(ValueError, match="^chat_template_kwargs must be a JSON object, got '"):
        ResponseFormatArguments().asking(text)
