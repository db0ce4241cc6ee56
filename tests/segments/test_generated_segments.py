"""Sampled ids are cut where their own text has its tags, however the ids came about."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from vlm_fixtures import QWEN_SPECIAL, TAG_WORDS, byte_tokenizer

import percbal.segments.sampled as module
from percbal.models.tiny import build_word_tokenizer
from percbal.segments.sampled import segment_completions
from percbal.segments.tagged import PERCEPTION, REASONING, Tags

BYTES = byte_tokenizer()
WORDS = build_word_tokenizer([*TAG_WORDS, "a", "b", "c"])
OPEN, CLOSE = "<perception>", "</perception>"


def sentencepiece_like() -> PreTrainedTokenizerFast:
    """Metaspace words with byte fallback, as in Llama and Gemma; one letter at a time."""
    pieces = [f"<0x{byte:02X}>" for byte in range(256)] + list("▁<>/abcdefghijklmnopqrstuvwxyz")
    vocabulary = {piece: i for i, piece in enumerate(["<unk>", "</s>", *pieces])}
    backend = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>")


PIECES = sentencepiece_like()


def one_by_one(text: str) -> list[int]:
    """The least canonical ids: a token for every byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    by_byte = dict(zip(_byte_order(), alphabet, strict=True))
    return BYTES.convert_tokens_to_ids([by_byte[byte] for byte in text.encode()])


def _byte_order() -> list[int]:
    decode = decoders.ByteLevel().decode
    # a byte above 127 alone is not UTF-8, so its character is found beside the byte it is drawn as
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    drawn = {chr(byte): byte for byte in printable}
    drawn |= {chr(256 + i): byte for i, byte in enumerate(others)}
    assert all(decode([c]) == chr(b) for c, b in drawn.items() if b < 128)
    return [drawn[c] for c in sorted(drawn)]


def perceived(tokenizer, ids, **options) -> list[int]:
    """The places of the perception tokens in one completion."""
    return np.flatnonzero(
        segment_completions(tokenizer, [ids], **options).segments[0] == PERCEPTION
    ).tolist()


def by_definition(tokenizer, ids, start: int, end: int) -> list[int]:
    """What each token adds to the text decoded so far, looked at for every token."""
    text = tokenizer.decode(ids, skip_special_tokens=True)
    ends = []
    for n in range(len(ids) + 1):
        part = tokenizer.decode(ids[:n], skip_special_tokens=True)
        same = next((i for i, (a, b) in enumerate(zip(part, text, strict=False)) if a != b), None)
        ends.append(min(len(part), len(text)) if same is None else same)
    first = next(i for i in range(len(ids)) if ends[i + 1] > start)
    last = max(i for i in range(len(ids)) if ends[i] < end)
    return list(range(first, last + 1))


def test_a_well_formed_completion_of_whole_words():
    text = "a <perception> a b </perception> <reasoning> c </reasoning> <answer> b </answer>"
    ids = WORDS(text)["input_ids"] + [WORDS.eos_token_id]
    cut = segment_completions(WORDS, [ids])
    assert cut.segments[0].tolist() == [REASONING] + 4 * [PERCEPTION] + 7 * [REASONING]
    assert cut.segments[0].dtype == np.int64
    assert cut.text == [text]
    assert cut.perception == [" a b "]
    assert cut.failed.tolist() == [False]


@pytest.mark.parametrize("tokenizer", [BYTES, PIECES, WORDS], ids=["bytes", "pieces", "words"])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "a b",
        "<perception> a",
        "a </perception>",
        "</perception> a <perception>",
        "<perception> a </perception> <perception> b </perception>",
        "<perception> a <reasoning> b </perception> </reasoning>",
        "<perception> <perception> a </perception> </perception>",
        "<answer> a </answer> <perception> a </perception>",
    ],
)
def test_without_one_well_formed_span_all_tokens_are_reasoning(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    cut = segment_completions(tokenizer, [ids])
    assert cut.segments[0].tolist() == [REASONING] * len(ids)
    assert cut.perception == [None]
    assert cut.failed.tolist() == [True]


def test_a_completion_cut_after_its_perception_is_well_formed():
    ids = WORDS("<perception> a </perception> <reasoning> b")["input_ids"]
    cut = segment_completions(WORDS, [ids])
    assert cut.segments[0].tolist() == [0, 0, 0, 1, 1]
    assert not cut.failed[0]


@pytest.mark.parametrize("tokenizer", [BYTES, PIECES, WORDS], ids=["bytes", "pieces", "words"])
def test_an_unclosed_span_can_be_perception_up_to_the_next_tag_but_stays_failed(tokenizer):
    head, inside = "a <perception> a b", " <reasoning> c"
    ids = tokenizer(head)["input_ids"]
    rest = tokenizer("c" + inside)["input_ids"][len(tokenizer("c")["input_ids"]) :]
    cut = segment_completions(tokenizer, [ids, ids + rest], unclosed="perception")
    assert cut.failed.all() and cut.perception == [None, None]
    first = int(cut.segments[0].argmin())
    assert "perception" in cut.text[0]
    assert cut.segments[0].tolist() == [1] * first + [0] * (len(ids) - first)
    start, end = head.index("<"), len(head) + 1
    assert perceived(tokenizer, ids + rest, unclosed="perception") == by_definition(
        tokenizer, ids + rest, start, end
    )
    assert cut.segments[1][-1] == REASONING


@pytest.mark.parametrize("where", ["end", "middle", "before"])
def test_special_tokens_belong_to_the_span_only_inside_it(where):
    words = WORDS("<perception> a b </perception> c")["input_ids"]
    at = {"end": len(words), "middle": 2, "before": 0}[where]
    ids = words[:at] + [WORDS.eos_token_id, WORDS.pad_token_id] + words[at:]
    inside = range(1, 5)
    expected = {"end": range(4), "middle": range(6), "before": [i + 1 for i in inside]}[where]
    assert perceived(WORDS, ids) == list(expected)
    assert segment_completions(WORDS, [ids]).text == ["<perception> a b </perception> c"]


def test_special_tokens_directly_at_the_tags_are_reasoning_in_every_tokenizer():
    for tokenizer in (WORDS, BYTES):
        pad = [tokenizer.pad_token_id]
        span = tokenizer("<perception> a </perception>")["input_ids"]
        expected = list(range(1, 1 + len(span)))
        assert perceived(tokenizer, pad + span + pad) == expected


def test_non_canonical_ids_are_cut_where_their_text_is():
    text = "é <perception> ré 数 </perception> 𝒳 <reasoning> c"
    canonical, sampled = BYTES(text)["input_ids"], one_by_one(text)
    assert len(sampled) > len(canonical) and BYTES.decode(sampled) == text
    cut = segment_completions(BYTES, [canonical, sampled])
    assert cut.text == [text, text]
    before = len("é ".encode())
    inside = len("<perception> ré 数 </perception>".encode())
    assert perceived(BYTES, sampled) == list(range(before, before + inside))


def test_a_token_that_straddles_a_border_is_perception():
    backend = Tokenizer.from_str(BYTES.backend_tokenizer.to_str())
    backend.add_tokens(["b<per", "on>c"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>")
    joined = tokenizer("ab<perception>a</perception>cc")["input_ids"]
    tokens = tokenizer.convert_ids_to_tokens(joined)
    first, last = tokens.index("b<per"), len(tokens) - 1 - tokens[::-1].index("on>c")
    assert perceived(tokenizer, joined) == list(range(first, last + 1))


def test_bytes_that_are_no_text_do_not_move_the_border():
    broken = one_by_one("é")[:1]  # alone, the first byte of two
    ids = one_by_one("a") + broken + one_by_one("<perception>a</perception>") + broken
    assert segment_completions(BYTES, [ids]).text == ["a�<perception>a</perception>�"]
    assert perceived(BYTES, ids) == list(range(2, len(ids) - 1))


def test_ids_beyond_the_vocabulary_have_no_text():
    ids = one_by_one("<perception>a</perception>")
    assert perceived(BYTES, [*ids[:3], len(BYTES) + 7, *ids[3:]]) == list(range(len(ids) + 1))


def test_tags_added_as_single_tokens_are_found_beside_their_spelling():
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens([AddedToken(tag, special=False) for tag in (OPEN, CLOSE)])
    whole = tokenizer(f"b {OPEN} a {CLOSE} b")["input_ids"]
    spelt = BYTES(f"b {OPEN} a {CLOSE} b")["input_ids"]
    places = perceived(tokenizer, whole)
    assert whole[places[0]] == tokenizer.convert_tokens_to_ids(OPEN)
    assert whole[places[-1]] == tokenizer.convert_tokens_to_ids(CLOSE)
    assert perceived(tokenizer, spelt) == perceived(BYTES, spelt)
    assert segment_completions(tokenizer, [whole + spelt]).failed[0]


def test_other_tags():
    tags = Tags(("[see]", "[/see]"), ("[think]", "[/think]"), ("[say]", "[/say]"))
    cut = segment_completions(BYTES, [one_by_one("[see]a[/see]b")], tags)
    assert cut.perception == ["a"]
    assert cut.segments[0].tolist() == [0] * 12 + [1]


def test_no_completions_and_empty_completions():
    assert segment_completions(WORDS, []).segments == []
    cut = segment_completions(WORDS, [[], [WORDS.eos_token_id]])
    assert [len(s) for s in cut.segments] == [0, 1]
    assert cut.failed.all()


def test_tags_that_decoding_drops_are_refused():
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens([AddedToken(CLOSE, special=True)], special_tokens=True)
    with pytest.raises(ValueError, match="</perception> is a special token"):
        segment_completions(tokenizer, [])
    with pytest.raises(ValueError, match="unclosed must be .* got 'other'"):
        segment_completions(WORDS, [], unclosed="other")


special = BYTES.convert_tokens_to_ids(QWEN_SPECIAL)
fragment = st.sampled_from(
    [OPEN, CLOSE, "<reasoning>", "<answer>", "<perc", "eption>", " ", "a", "é", "数", "𝒳", "�"]
).flatmap(lambda text: st.sampled_from([BYTES(text)["input_ids"], one_by_one(text)]))
anything = st.integers(0, len(BYTES) - 1).map(lambda i: [i])
byte_part = st.lists(fragment | anything | st.sampled_from([[i] for i in special]), max_size=5)
piece_part = st.lists(
    st.sampled_from([PIECES(text)["input_ids"] for text in (OPEN, CLOSE, "a", "é", "a b", "<")])
    | st.integers(0, len(PIECES) - 1).map(lambda i: [i]),
    max_size=5,
)


def around_a_span(tokenizer, part):
    """Ids in which a span is likely: whether it is well formed is up to the other parts."""
    tags = [tokenizer(tag)["input_ids"] for tag in (OPEN, CLOSE)]
    return st.tuples(part, part, part).map(
        lambda parts: (tokenizer, sum([*parts[0], tags[0], *parts[1], tags[1], *parts[2]], []))
    )


@settings(max_examples=150, deadline=None)
@given(around_a_span(BYTES, byte_part) | around_a_span(PIECES, piece_part))
@example((BYTES, one_by_one("é")[:1] + one_by_one(OPEN + "é" + CLOSE) + one_by_one("é")[1:]))
def test_any_ids_are_cut_as_the_definition_says(case):
    tokenizer, ids = case
    cut = segment_completions(tokenizer, [ids])
    assert cut.text == tokenizer.batch_decode([ids], skip_special_tokens=True)
    assert len(cut.segments[0]) == len(ids)
    assert cut.failed[0] == (cut.perception[0] is None)
    expected = []
    if not cut.failed[0]:
        start = cut.text[0].index(OPEN)
        end = cut.text[0].index(CLOSE) + len(CLOSE)
        assert cut.text[0][start:end] == OPEN + cut.perception[0] + CLOSE
        expected = by_definition(tokenizer, ids, start, end)
    assert np.flatnonzero(cut.segments[0] == PERCEPTION).tolist() == expected


def test_the_ways_to_find_borders_agree(monkeypatch):
    texts = [f"{'x' * i}{OPEN}é{'y' * i}{CLOSE} 数{'z' * (9 - i)}" for i in range(10)]
    ids = [one_by_one(text) if i % 2 else BYTES(text)["input_ids"] for i, text in enumerate(texts)]
    by_bytes = segment_completions(BYTES, ids).segments
    monkeypatch.setattr(module, "_byte_lengths", lambda *_: None)
    by_prefixes = segment_completions(BYTES, ids).segments
    for ours, theirs in zip(by_bytes, by_prefixes, strict=True):
        np.testing.assert_array_equal(ours, theirs)
