"""Load a vision-language model and its processor, from a directory or from the hub."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    PreTrainedModel,
    ProcessorMixin,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
from transformers.utils import cached_file, find_adapter_config_file

from percbal.models.lora import base_of, merged
from percbal.models.manifest import damage, is_sealed
from percbal.models.refusals import refuse_family
from percbal.models.weights import first_line

DTYPES = ("auto", "float32", "bfloat16", "float16")
SAFE_ADAPTERS = "adapter_model.safetensors"
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")  # owner/name


class LoadingError(ValueError):
    """A directory or a hub name without what is needed; the message is one sentence."""


def load_vlm(
    model: str | Path, *, dtype: torch.dtype | str = torch.float32
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Model and processor from a directory that ``save_pretrained`` wrote, or by hub name.

    Equal to ``AutoModelForImageTextToText.from_pretrained(model, dtype=dtype)`` and
    ``AutoProcessor.from_pretrained(model)``, with errors that say what is missing.
    dtype: of the weights, also by name, or "auto" for the one they were saved in.
    Low-rank adapters give the model that they belong to with them merged into it.
    Weights are read from safetensors alone.
    Raises LoadingError if there is no such model, for one that takes no images or that TRL's
    batches do not fit, without a processor or a package that it needs, and for pickled weights.
    """
    if isinstance(dtype, str) and dtype not in DTYPES:
        raise LoadingError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    source = _source(model)
    return _load_model(source, dtype), load_processor(source)


def _source(model: str | Path) -> str:
    """What transformers is to load from: adapters remember it."""
    if Path(model).is_dir():
        return str(Path(model).resolve())
    if HUB_NAME.fullmatch(str(model)):
        return str(model)
    raise LoadingError(
        f"{model} is not a directory; give one that save_pretrained wrote, or a name on the hub"
    )


def _load_model(source: str, dtype: torch.dtype | str) -> PreTrainedModel:
    _refuse_damaged(Path(source))
    try:
        adapters = find_adapter_config_file(source)
    except OSError as error:
        raise _not_on_the_hub(source, error) from error
    if adapters is None:
        _check_model(source)
        try:
            return AutoModelForImageTextToText.from_pretrained(
                source, dtype=dtype, use_safetensors=True, trust_remote_code=False
            )
        except SafetensorError as error:
            raise LoadingError(f"the weights in {source} cannot be read: {error}") from error
        except OSError as error:
            if "safetensors" not in str(error):
                raise
            raise _not_safe(source, "model.safetensors") from error
    try:
        base = base_of(Path(adapters))
    except ValueError as error:
        raise LoadingError(str(error)) from error
    try:
        below = _load_model(_source(base), dtype)
    except LoadingError as error:
        raise LoadingError(f"the adapters in {source} need their model: {error}") from error
    folder = Path(adapters).parent
    if not Path(source).is_dir():
        with suppress(OSError):  # said below
            cached_file(source, SAFE_ADAPTERS)
    if not (folder / SAFE_ADAPTERS).is_file():
        raise _not_safe(source, SAFE_ADAPTERS)
    try:
        model = merged(below, str(folder))
    except ValueError as error:
        raise LoadingError(str(error)) from error
    model.name_or_path = source  # adapters on top of these belong to both
    return model


def _refuse_damaged(directory: Path) -> None:
    """A checkpoint says what its files were; those of the optimizer are not asked for."""
    if is_sealed(directory) and (problem := damage(directory, skip=(".pt", ".pth", ".distcp"))):
        raise LoadingError(f"{directory} is damaged: {problem}")


def _not_safe(source: str, wanted: str) -> LoadingError:
    return LoadingError(
        f"{source} has no {wanted}; weights in another format (.bin) are pickles, which can run "
        "code, and are not loaded: save them again with save_pretrained"
    )


def load_processor(source: str | Path) -> ProcessorMixin:
    """The processor in a directory or of a hub name, or LoadingError."""
    source = _source(source)
    try:
        processor = AutoProcessor.from_pretrained(source, trust_remote_code=False)
    except ImportError as error:
        raise _needs_package(source, error) from error
    except (OSError, ValueError) as error:
        raise LoadingError(
            f"{source} has no usable processor (processor_config.json and the tokenizer's files): "
            f"{first_line(error)}"
        ) from error
    if not isinstance(processor, ProcessorMixin):  # a lone tokenizer, where there is no more
        raise LoadingError(
            f"{source} has a {type(processor).__name__} but no processor for images "
            "(processor_config.json)"
        )
    return processor


def _needs_package(source: str | Path, error: ImportError) -> LoadingError:
    """transformers' twelve lines of advice in one."""
    for package in ("torchvision", "num2words"):
        if package in str(error).lower():
            return LoadingError(
                f'the processor of {source} needs {package}: pip install "percbal[vision]"'
            )
    return LoadingError(
        f"the processor of {source} needs a package that is missing: {first_line(error)}"
    )


def _check_model(source: str) -> None:
    local = Path(source).is_dir()
    if local and not (Path(source) / "config.json").is_file():
        raise LoadingError(f"{source} holds no model: it has no config.json")
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError) as error:
        if "custom code" in str(error):
            raise LoadingError(
                f"{source} is a model with code of its own, which is not run; take one in "
                "transformers' own format (for InternVL, OpenGVLab/InternVL3_5-1B-HF and others "
                "whose names end so)"
            ) from error
        if not local:
            raise _not_on_the_hub(source, error) from error
        raise LoadingError(f"{source}/config.json cannot be read: {first_line(error)}") from error
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise LoadingError(
            f"{source} holds a {config.model_type} model, which takes no images; "
            "a vision-language model is needed"
        )
    try:
        refuse_family(config.model_type, source)
    except ValueError as error:
        raise LoadingError(str(error)) from error


def _not_on_the_hub(name: str, error: Exception) -> LoadingError:
    return LoadingError(f"{name}, no directory, cannot be had by name: {first_line(error)}")
