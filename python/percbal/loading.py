"""Load a vision-language model and its processor from a directory."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    PreTrainedModel,
    ProcessorMixin,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from percbal.lora import base_of, merged


class LoadingError(ValueError):
    """A directory that does not hold what is needed; the message is one sentence."""


def load_vlm(
    directory: str | Path, *, dtype: torch.dtype = torch.float32
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Model and processor that ``save_pretrained`` wrote into one directory.

    Equal to ``AutoModelForImageTextToText.from_pretrained(directory, dtype=dtype)`` and
    ``AutoProcessor.from_pretrained(directory)``, with errors that say what is missing.
    A directory of low-rank adapters gives the model that they belong to with them merged into it.
    Raises LoadingError if the directory is missing, holds no model, a model that takes no
    images, or no processor.
    """
    path = Path(directory).resolve()  # adapters remember it
    return _load_model(path, dtype), load_processor(path)


def _load_model(path: Path, dtype: torch.dtype) -> PreTrainedModel:
    try:
        base = base_of(path)
    except ValueError as error:
        raise LoadingError(str(error)) from error
    if base is None:
        _check_model(path)
        return AutoModelForImageTextToText.from_pretrained(path, dtype=dtype)
    try:
        below = _load_model(base, dtype)
    except LoadingError as error:
        raise LoadingError(f"the adapters in {path} need their model: {error}") from error
    model = merged(below, path)
    model.name_or_path = str(path)  # adapters on top of these belong to both
    return model


def load_processor(directory: str | Path) -> ProcessorMixin:
    """The processor in a directory, or LoadingError."""
    try:
        processor = AutoProcessor.from_pretrained(directory)
    except (OSError, ValueError) as error:
        raise LoadingError(
            f"{directory} has no usable processor: processor_config.json or the tokenizer's files "
            "are missing or cannot be read"
        ) from error
    if not isinstance(processor, ProcessorMixin):  # a lone tokenizer, where there is no more
        raise LoadingError(
            f"{directory} has a {type(processor).__name__} but no processor for images "
            "(processor_config.json)"
        )
    return processor


def _check_model(path: Path) -> None:
    if not path.is_dir():
        raise LoadingError(f"{path} is not a directory; give one that save_pretrained wrote")
    if not (path / "config.json").is_file():
        raise LoadingError(f"{path} holds no model: it has no config.json")
    try:
        config = AutoConfig.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise LoadingError(
            f"{path}/config.json cannot be read: {str(error).splitlines()[0]}"
        ) from error
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise LoadingError(
            f"{path} holds a {config.model_type} model, which takes no images; "
            "a vision-language model is needed"
        )
