"""Opens the pictures of a data set, which others made: from where, how large, which formats."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
from huggingface_hub.constants import HF_HUB_CACHE
from PIL import Image, ImageOps

from percbal.data.forms import as_list
from percbal.data.limits import MAX_PIXELS
from percbal.data.rows import PLACE
from percbal.data.table import IN_MESSAGES, decoded

PILLOW_LIMIT = 2 * (Image.MAX_IMAGE_PIXELS or MAX_PIXELS)  # it refuses larger ones by itself
# Pillow knows more; some run a program (EPS: Ghostscript), and none is a common picture
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
COLUMNS = ("images", "image", IN_MESSAGES)  # the first of a row that has any counts
LONGEST_PATH = 200  # characters of one in a message
ORIENTATION = 0x0112  # of EXIF


class BadImage(ValueError):
    """A picture that is not opened; the message names it and says why."""


@dataclass(frozen=True)
class ImageRules:
    """Which pictures of a data set are opened.

    base: what relative paths begin at.
    within: the folders that no path may leave, by ``..``, a link or an absolute path.
    max_pixels: width times height; up to ``PILLOW_LIMIT``.
    """

    base: Path
    within: tuple[Path, ...]
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        if not 0 < self.max_pixels <= PILLOW_LIMIT:
            raise ValueError(
                f"max_image_pixels must be between 1 and {PILLOW_LIMIT}, which is Pillow's own "
                f"limit, got {self.max_pixels}"
            )

    def beside(self, file: Path) -> ImageRules:
        """The same where relative paths begin at a file of the data set."""
        return self if file.parent == self.base else replace(self, base=file.parent)

    def whole(self, path: str) -> str:
        """A path that begins here as one that needs no base."""
        return str((self.base / path).absolute())

    def file(self, path: str) -> Path:
        """The file at a path of the data set, or BadImage."""
        name = _shown(path)
        if path.startswith("data:"):
            raise BadImage("an inline picture (data:..) is not opened; write it to a file")
        if "://" in path:
            raise BadImage(f"{name} is an address; only files are opened")
        try:
            found = (self.base / path).resolve()
            inside = any(found.is_relative_to(folder.resolve()) for folder in self.within)
            is_file = found.is_file()  # no device and no pipe, which might never end
        except (OSError, ValueError) as problem:
            why = getattr(problem, "strerror", None) or problem  # without the path
            raise BadImage(f"{name!r} is no path: {why}") from None
        if not inside:
            raise BadImage(
                f"{name} leaves the folder {self.within[0]}; images_within names another one that "
                "pictures may lie in"
            )
        if not is_file:
            raise BadImage(f"there is no file {name} in {self.base}")
        return found


def _shown(path: str) -> str:
    return path if len(path) <= LONGEST_PATH else path[:LONGEST_PATH] + ".."


def open_image(value: Any, rules: ImageRules, *, decode: bool = True) -> Any:
    """The picture at a path, or of ``{"path": .., "bytes": ..}``, upright, as `datasets` gives it.

    decode: else only its head is read, for its format and size.
    Raises BadImage for one that the rules forbid or that cannot be read.
    """
    if isinstance(value, Image.Image):
        _check_range(value, "a picture")
        return value
    cell = image_cell(value)
    path, content = cell["path"], cell["bytes"]
    file: Any = rules.file(path) if content is None else BytesIO(content)
    name = _shown(path or f"a picture of {len(content or b'')} bytes")
    try:
        image = Image.open(file, formats=_formats())
    except Image.DecompressionBombError:
        raise BadImage(f"{name} has more than {PILLOW_LIMIT} pixels") from None
    except Exception as problem:  # of damaged files, by format: OSError, SyntaxError, struct.error
        raise BadImage(f"{name} is no picture that can be read ({problem})") from None
    with image:
        pixels = image.width * image.height
        if pixels > rules.max_pixels:
            raise BadImage(
                f"{name} has {image.width} x {image.height} pixels, more than max_image_pixels, "
                f"{rules.max_pixels}"
            )
        _check_range(image, name)
        if not decode:
            return image.size
        try:
            image.load()
            turned = image.getexif().get(ORIENTATION) is not None
            return ImageOps.exif_transpose(image) if turned else image.copy()
        except Exception as problem:
            raise BadImage(f"{name} is damaged ({type(problem).__name__}: {problem})") from None


def _check_range(image: Image.Image, name: str) -> None:
    """BadImage for more than 8 bits a pixel, which processors clip at 255: white, for the most."""
    if image.mode.startswith("I") or image.mode == "F":
        raise BadImage(
            f"{name} is of mode {image.mode}, whose values go beyond 255 and would be clipped to "
            "white; scale it to 8 bits (0 to 255) and save it again"
        )


@cache
def _formats() -> tuple[str, ...]:
    """Those that this build of Pillow has."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def image_cell(value: Any) -> dict[str, Any]:
    """``{"path", "bytes"}`` of a path, of bytes, of a picture, or of such a dict."""
    if isinstance(value, Image.Image):
        return {"path": None, "bytes": _encoded(value)}
    if isinstance(value, str):
        value = {"path": value.removeprefix("file://")}
    elif isinstance(value, bytes):
        value = {"bytes": value}
    path, content = (value.get("path"), value.get("bytes")) if isinstance(value, dict) else (0, 0)
    known = path is None or isinstance(path, str)
    if not known or not (isinstance(content, bytes) or (content is None and path is not None)):
        raise BadImage(f"an image must be a path or have bytes, got {value!r:.40}")
    return {"path": path, "bytes": content}


def _encoded(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def cached_folders() -> tuple[Path, ...]:
    """Where `datasets` unpacks what it loads, pictures among it."""
    return (Path(datasets.config.HF_DATASETS_CACHE), Path(HF_HUB_CACHE))


@dataclass(frozen=True)
class OpenRows:
    """For ``Dataset.with_transform``: opens the pictures of the rows that are asked for.

    A picture that cannot be opened is named with its row.
    as_files: give each as ``(ending, bytes)``, as it was written, once it was opened.
    """

    rules: ImageRules
    as_files: bool = False

    def __call__(self, batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        batch = {name: [decoded(cell) for cell in cells] for name, cells in batch.items()}
        sources = [batch.pop(name) for name in COLUMNS if name in batch]
        if not sources:
            return batch
        places = batch.get(PLACE) or ["a row"] * len(sources[0])
        rows = zip(places, *sources, strict=True)
        return batch | {"images": [self._opened(place, found) for place, *found in rows]}

    def _opened(self, place: str, sources: list[Any]) -> list[Any]:
        """The first source that has any."""
        values = next((value for value in map(as_list, sources) if value), [])
        try:
            images = [open_image(value, self.rules) for value in values]
            return [self._file(value) for value in values] if self.as_files else images
        except BadImage as problem:
            raise BadImage(f"{place}: {problem}") from None

    def _file(self, value: Any) -> tuple[str, bytes]:
        cell = image_cell(value)
        content = cell["bytes"]
        if content is None:
            content = self.rules.file(cell["path"]).read_bytes()
        with Image.open(BytesIO(content), formats=_formats()) as image:
            return str(image.format).lower().replace("jpeg2000", "jp2"), content


def with_files(data: Any) -> Any:
    """A data set of `read_dataset` whose images are ``(ending, bytes)``."""
    opens: OpenRows = data.format["format_kwargs"]["transform"]
    return data.with_transform(replace(opens, as_files=True))


def undecoded(data: Any) -> Any:
    """The data set with its pictures as paths and bytes, wherever they are; nothing is copied."""
    features = datasets.Features({name: _plain(kind) for name, kind in data.features.items()})
    if features == data.features:
        return data
    data = data.flatten_indices() if data._indices is not None else data
    return datasets.Dataset(data.data, info=datasets.DatasetInfo(features=features))


def _plain(kind: Any) -> Any:
    if isinstance(kind, datasets.Image):
        return datasets.Image(decode=False)
    if isinstance(kind, dict):
        return {name: _plain(inner) for name, inner in kind.items()}
    if isinstance(kind, datasets.List):
        return datasets.List(_plain(kind.feature), length=kind.length)
    if isinstance(kind, datasets.LargeList):
        return datasets.LargeList(_plain(kind.feature))
    return kind
