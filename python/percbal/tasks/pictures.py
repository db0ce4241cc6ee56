"""What pictures of all tasks share: fonts that come with matplotlib, and noise.

Only those fonts are used, so that one seed gives one picture on every machine with the same Pillow.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageFont

FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSansMono-Oblique",
    "DejaVuSerif",
    "DejaVuSerif-BoldItalic",
    "STIXGeneral",
    "STIXGeneralBolIta",
    "cmss10",
)


def check_look(noise: float, fonts: Sequence[str]) -> None:
    """ValueError for a noise or a font that cannot be."""
    if not 0 <= noise < math.inf:
        raise ValueError(f"noise must be 0 or more, got {noise}")
    if not fonts:
        raise ValueError(f"fonts must name at least one of {', '.join(FONTS)}")
    unknown = [font for font in fonts if font not in FONTS]
    if unknown:
        raise ValueError(f"unknown font {unknown[0]!r}; known fonts: {', '.join(FONTS)}")


def with_noise(image: Image.Image, noise: float, rng: random.Random) -> Image.Image:
    """The picture with Gaussian noise on every pixel; the same picture where noise is 0.

    noise: standard deviation as a share of white; what leaves [black, white] is cut off.
    """
    if not noise:
        return image
    generator = np.random.Generator(np.random.PCG64(rng.getrandbits(64)))
    pixels = np.asarray(image, dtype=np.float32)
    pixels = pixels + generator.standard_normal(pixels.shape, dtype=np.float32) * (255 * noise)
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


@lru_cache(maxsize=256)
def digit_font(name: str, height: float) -> ImageFont.FreeTypeFont:
    """A font whose digits are so many pixels high, whatever its em."""
    path = str(_directory() / f"{name}.ttf")
    _, top, _, bottom = ImageFont.truetype(path, 1000).getbbox("8")
    return ImageFont.truetype(path, round(height * 1000 / (bottom - top)))


@lru_cache(maxsize=1)
def _directory() -> Path:
    # found without importing matplotlib, which takes longer than drawing a thousand pictures
    spec = find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("drawing takes matplotlib's fonts: install matplotlib")
    return Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"
