"""The tokens that stand for an image or a video, by a processor or a model's configuration."""

from __future__ import annotations

from typing import Any

NAMES = ("image_token_id", "image_token_index", "video_token_id", "video_token_index")
LISTS = ("image_token_ids", "video_token_ids")


def placeholder_ids(*sources: Any) -> set[int]:
    """All that these processors and configurations name; one may be None.

    Gemma3's processor has the mark before an image as its ``image_token_id``, and the token that
    the model replaces in ``image_token_ids`` alone.
    """
    found = {getattr(source, name, None) for source in sources for name in NAMES}
    for source in sources:
        for name in LISTS:
            found.update(getattr(source, name, None) or ())
    return {number for number in found if isinstance(number, int)}
