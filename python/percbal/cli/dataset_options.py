"""Options that say which pictures are opened, for commands that TRL does not parse."""

from __future__ import annotations

from typing import Any

from percbal.data.limits import MAX_PIXELS


def add_image_options(parser: Any) -> None:
    parser.add_argument("--images-within", help="folder that paths of images may not leave")
    parser.add_argument("--max-image-pixels", type=int, default=MAX_PIXELS)
