"""Opens the pictures of a data set, which others made: from where, how large, which formats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
from huggingface_hub.constants import HF_HUB_CACHE
from PIL import Image, ImageOps

from percbal.data.limits import MAX_PIXELS

PILLOW_LIMIT = 2 * (Image.MAX_IMAGE_PIXELS or MAX_PIXELS)  # it refuses larger ones by itself
# Pillow knows more; some run a program (EPS: Ghostscript), and none is a common picture
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
COLUMNS = ("image", "images")
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

    def file(self, path: str) -> Path:
        """The file at a path of the data set, or BadImage."""
        if "://" in path:
            raise BadImage(f"{path} is an address; only files are opened")
        try:
            found = (self.base / path).resolve()
            inside = any(found.is_relative_to(folder.resolve()) for folder in self.within)
            is_file = found.is_file()  # no device and no pipe, which might never end
        except (OSError, ValueError) as problem:
            raise BadImage(f"{path!r:.200} is no path: {problem}") from None
        if not inside:
            raise BadImage(
                f"{path} leaves the folder {self.within[0]}; images_within names another one that "
                "pictures may lie in"
            )
        if not is_file:
            raise BadImage(f"there is no file {path} in {self.base}")
        return found


def open_image(value: Any, rules: ImageRules, *, decode: bool = True) -> Any:
    """The picture at a path, or of ``{"path": .., "bytes": ..}``, upright, as `datasets` gives it.

    decode: else only its head is read, for its format and size.
    Raises BadImage for one that the rules forbid or that cannot be read.
    """
    if isinstance(value, Image.Image):
        return value
    path, content = (value, None) if isinstance(value, str) else _parts(value)
    if content is None and not isinstance(path, str):
        raise BadImage(f"an image must be a path or have bytes, got {value!r:.40}")
    file: Any = rules.file(str(path)) if content is None else BytesIO(content)
    name = path or f"a picture of {len(content or b'')} bytes"
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
        if not decode:
            return image.size
        try:
            image.load()
            turned = image.getexif().get(ORIENTATION) is not None
            return ImageOps.exif_transpose(image) if turned else image.copy()
        except Exception as problem:
            raise BadImage(f"{name} is damaged ({type(problem).__name__}: {problem})") from None


@cache
def _formats() -> tuple[str, ...]:
    """Those that this build of Pillow has."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _parts(value: Any) -> tuple[Any, Any]:
    return (value.get("path"), value.get("bytes")) if isinstance(value, dict) else (None, None)


def cached_folders() -> tuple[Path, ...]:
    """Where `datasets` unpacks what it loads, pictures among it."""
    return (Path(datasets.config.HF_DATASETS_CACHE), Path(HF_HUB_CACHE))


class OpenImages:
    """For ``Dataset.with_transform``: opens the pictures of the rows that are asked for.

    A picture that cannot be opened is named with its row, which is looked for then.
    data: the same rows, not decoded. place: what to call a row, from its number.
    """

    def __init__(self, data: Any, rules: ImageRules, place: Callable[[int], str]) -> None:
        self.data, self.rules, self.place = data, rules, place

    def __call__(self, batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        opened = {
            name: [self._opened(name, value) for value in batch[name]]
            for name in COLUMNS
            if name in batch
        }
        return batch | opened

    def _opened(self, name: str, value: Any) -> Any:
        if value is None:
            return None
        several = isinstance(value, list)
        try:
            found = [open_image(one, self.rules) for one in (value if several else [value])]
        except BadImage as problem:
            rows = enumerate(self.data.select_columns([name]))
            row = next((i for i, other in rows if other[name] == value), None)
            where = "a row" if row is None else self.place(row)
            raise BadImage(f"{where}: {problem}") from None
        return found if several else found[0]


def with_images(data: Any, rules: ImageRules, place: Callable[[int], str]) -> Any:
    """The data set with its columns ``image`` and ``images`` opened by the rules."""
    present = [name for name in COLUMNS if name in data.column_names]
    for name in present:
        plain: Any = datasets.Image(decode=False)
        data = data.cast_column(name, datasets.List(plain) if name == "images" else plain)
    return data.with_transform(OpenImages(data, rules, place)) if present else data
