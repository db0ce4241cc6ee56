"""Which extra of percbal brings a package that is missing."""

from __future__ import annotations

EXTRAS = {  # of pyproject.toml -> what they bring, as it is imported
    "train": """
        PIL accelerate datasets httpx2 huggingface_hub jinja2 matplotlib packaging safetensors scipy
        tokenizers tqdm transformers trl yaml
    """,
    "vision": "num2words torchvision",
    "lora": "peft",
    "endpoint": "openai",
    "inspect": "inspect_ai",
}


def missing_package(error: BaseException | None) -> str | None:
    """One sentence that names the extra; None where no package of one is why an import failed.

    transformers and TRL import on first use, and say of it in an error of their own.
    """
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name:
            package = error.name.split(".")[0]
            for extra, brought in EXTRAS.items():
                if package in brought.split():
                    return f'{package} is not installed: pip install "percbal[{extra}]"'
        error = error.__cause__
    return None
