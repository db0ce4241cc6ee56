"""Which pictures of a data set are opened, and how those that are not are named."""

from __future__ import annotations

import io
import json
import os
import random
import struct
import zlib
from pathlib import Path

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from percbal.data.images import PILLOW_LIMIT, BadImage, ImageRules, OpenRows, open_image
from percbal.data.reading import read_dataset

FORMATS = {"png": {}, "jpeg": {}, "webp": {}, "gif": {}, "bmp": {}, "tiff": {}}


def noise(size=(24, 16)) -> Image.Image:
    return Image.frombytes("RGB", size, random.Random(0).randbytes(size[0] * size[1] * 3))


def encoded(image, kind, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def bomb(width: int, height: int) -> bytes:
    """The head of a PNG of this size, and no more."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + name
            + content
            + struct.pack(">I", zlib.crc32(name + content))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 99))


@pytest.fixture
def rules(tmp_path):
    (tmp_path / "data").mkdir()
    return ImageRules(tmp_path / "data", (tmp_path / "data",))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("inside", [True, False])
def test_a_picture_is_opened_as_datasets_opens_it(rules, kind, inside):
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    content = encoded(noise(), kind, **({"exif": exif} if kind in ("png", "jpeg", "webp") else {}))
    path = rules.base / f"a.{kind}"
    path.write_bytes(content)
    value = {"path": None, "bytes": content} if inside else {"path": str(path), "bytes": None}
    theirs = datasets.Image().decode_example(value)
    ours = open_image(value, rules)
    assert ours.mode == theirs.mode and ours.size == theirs.size
    assert ours.tobytes() == theirs.tobytes()
    if not inside:
        assert open_image(f"a.{kind}", rules).tobytes() == theirs.tobytes()


@pytest.mark.parametrize("kind", FORMATS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_damaged_picture_is_a_picture_or_a_sentence(kind, data):
    """Cut anywhere, bytes changed anywhere: never another error, and never without its name."""
    content = bytearray(encoded(noise(), kind))
    content = content[: data.draw(st.integers(0, len(content)))]
    for _ in range(data.draw(st.integers(0, 4))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    rules = ImageRules(Path("."), (Path("."),), max_pixels=10**6)
    try:
        open_image({"path": "it.png", "bytes": bytes(content)}, rules)
    except BadImage as problem:
        assert str(problem).startswith("it.png ")


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "gif"])
def test_half_a_picture_is_damaged(rules, kind):
    content = encoded(noise((200, 200)), kind)
    with pytest.raises(BadImage, match="^it is (damaged|no picture)"):
        open_image({"path": "it", "bytes": content[: len(content) // 2]}, rules)


@pytest.mark.parametrize(
    "content", [b"", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"8BPS\0\1", b"<svg/>"]
)
def test_what_is_no_common_picture_is_not_opened(rules, content):
    with pytest.raises(BadImage, match="^it is no picture that can be read"):
        open_image({"path": "it", "bytes": content}, rules)


def test_a_large_picture_is_refused_by_its_head_alone(rules):
    for size, sentence in (
        ((12_000, 12_000), "it has 12000 x 12000 pixels, more than max_image_pixels, 64000000"),
        ((60_000, 60_000), f"it has more than {PILLOW_LIMIT} pixels"),
    ):
        with pytest.raises(BadImage, match=sentence):
            open_image({"path": "it", "bytes": bomb(*size)}, rules)
    ten = ImageRules(rules.base, rules.within, max_pixels=24 * 16)
    assert open_image({"path": None, "bytes": encoded(noise(), "png")}, ten).size == (24, 16)
    with pytest.raises(BadImage, match="25 x 16 pixels, more than max_image_pixels, 384"):
        open_image({"path": None, "bytes": encoded(noise((25, 16)), "png")}, ten)
    for limit in (0, PILLOW_LIMIT + 1):
        with pytest.raises(ValueError, match=f"max_image_pixels must be between .* got {limit}"):
            ImageRules(rules.base, rules.within, max_pixels=limit)


@pytest.mark.parametrize(
    "mode, kind", [("I;16", "png"), ("I;16", "tiff"), ("I", "tiff"), ("F", "tiff"), ("I", "ppm")]
)
def test_a_picture_of_more_than_8_bits_is_refused_by_its_head_alone(rules, mode, kind):
    """A processor would clip it at 255; random pictures of 8 bits never show that."""
    content = encoded(Image.new(mode, (40, 30), 1000), kind)
    name = "I;16|I" if kind == "ppm" else mode
    sentence = f"^it is of mode ({name}), whose values go beyond 255 .*; scale it to 8 bits"
    for decode in (True, False):
        with pytest.raises(BadImage, match=sentence):
            open_image({"path": "it", "bytes": content}, rules, decode=decode)
    with pytest.raises(BadImage, match="a picture is of mode"):
        open_image(Image.new(mode, (4, 3), 1000), rules)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_pictures_of_8_bits_and_fewer_are_opened_in_any_mode(rules, mode):
    content = encoded(noise().convert(mode), "tiff")
    assert open_image({"path": "it", "bytes": content}, rules).size == (24, 16)


@pytest.fixture
def outside(rules, tmp_path):
    """Pictures beside the folder and in it, and links from one to the other."""
    for folder in (tmp_path, rules.base):
        noise().save(folder / "a.png")
    (tmp_path / "databases").mkdir()
    noise().save(tmp_path / "databases" / "a.png")
    (rules.base / "link.png").symlink_to(tmp_path / "a.png")
    (rules.base / "out").symlink_to(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "path",
    ["../a.png", "x/../../a.png", "{root}/a.png", "link.png", "out/a.png", "../databases/a.png"],
)
def test_a_path_may_not_leave_the_folder_unless_asked(rules, outside, path):
    path = path.format(root=outside)
    with pytest.raises(BadImage, match="leaves the folder .*data; images_within names another"):
        open_image(path, rules)
    for within in (outside, Path("/")):
        assert open_image(path, ImageRules(rules.base, (within,))).size == (24, 16)


def test_paths_within_the_folder_are_opened(rules, outside):
    for path in ("a.png", "./a.png", "x/../a.png", str(rules.base / "a.png")):
        assert open_image(path, rules).size == (24, 16)


@pytest.mark.parametrize(
    "path, sentence",
    [
        ("none.png", "there is no file none.png"),
        ("", "there is no file"),
        ("pipe", "there is no file pipe"),
        ("/dev/zero", "leaves the folder"),
        ("a\0.png", "is no path"),
        ("x" * 5000, "is no path|there is no file"),
        ("http://example.org/a.png", "is an address; only files are opened"),
        ("zip://a.png::https://example.org/a.zip", "is an address"),
        (None, "an image must be a path or have bytes"),
        (3, "an image must be a path or have bytes"),
    ],
)
def test_what_is_no_file_of_the_data_set_is_not_opened(rules, path, sentence):
    os.mkfifo(rules.base / "pipe")  # reading it would wait for ever
    for value in (path, {"path": path, "bytes": None}):
        with pytest.raises(BadImage, match=sentence):
            open_image(value, rules)


@pytest.mark.parametrize(
    "path", ["data:image/png;base64," + "A" * 400_000, "x" * 400_000, "https://a/" + "x" * 400_000]
)
def test_a_message_does_not_repeat_a_long_text(rules, tmp_path, path):
    with pytest.raises(BadImage) as refused:
        open_image(path, rules)
    assert len(str(refused.value)) < 500
    if path.startswith("data:"):
        assert str(refused.value).startswith("an inline picture (data:..) is not opened")
    row = {"prompt": "look", "completion": "yes", "images": [path]}
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(ValueError, match="a.jsonl:1: ") as refused:
        read_dataset(str(tmp_path / "a.jsonl"))
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize("column", ["image", "images"])
@pytest.mark.parametrize("inside", [True, False])
def test_a_damaged_picture_is_named_with_its_row(rules, column, inside):
    values = []
    for i in range(4):
        content = encoded(noise((200, 200)), "png")
        (rules.base / f"{i}.png").write_bytes(content[:5000] if i == 2 else content)
        whole = (rules.base / f"{i}.png").read_bytes()
        values.append({"bytes": whole, "path": f"{i}.png"} if inside else f"{i}.png")
    rows = [
        {column: [v] if column == "images" else v, "source_row": f"line {i}"}
        for i, v in enumerate(values, 1)
    ]
    data = datasets.Dataset.from_list(rows).with_transform(OpenRows(rules))
    for order in (data, data.shuffle(seed=0), data.select([3, 2])):
        bad = [i for i in range(len(order)) if not readable(order, i)]
        assert len(bad) == 1
        with pytest.raises(BadImage, match="^line 3: 2.png is damaged"):
            order[bad[0]]
        with pytest.raises(BadImage, match="^line 3: 2.png is damaged"):
            list(order)


def readable(data, i) -> bool:
    try:
        data[i]
    except BadImage:
        return False
    return True
