"""What holds for every test: the environment it runs in, and which packages it may lack."""

import gc
import os
from collections.abc import Generator
from importlib.metadata import PackageNotFoundError, version
from typing import TypeVar

import pytest
import torch


def interpreter_works() -> bool:
    """Triton 3.6's makes Python numbers of NumPy arrays as NumPy 2.4 no longer allows."""
    try:
        triton, numpy = (version(name).split(".") for name in ("triton", "numpy"))
    except PackageNotFoundError:
        return True  # no triton, no kernel
    return triton[:2] != ["3", "6"] or [int(n) for n in numpy[:2]] < [2, 4]


# Set before anything imports triton: without a GPU its kernels run in the interpreter.
if not torch.cuda.is_available() and interpreter_works():
    os.environ.setdefault("TRITON_INTERPRET", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for subprocesses
    torch.set_num_threads(1)

# The optional packages of pyproject.toml and what they bring, as they are imported.
OPTIONAL = """
    PIL accelerate datasets expecttest flash_attn httpx2 hypothesis inspect_ai jinja2 matplotlib
    num2words openai pandas peft pyarrow pytest_benchmark rapidfuzz safetensors scipy tokenizers
    torchvision tqdm transformers triton trl yaml
""".split()
Report = TypeVar("Report", pytest.CollectReport, pytest.TestReport)


# Whole files go to one of two processes. Those that take longest begin, so that both end together.
LONGEST = """
    study/test_study.py losses/test_operators.py sft/test_sft.py sft/test_fsdp.py sft/test_ddp.py
    evaluate/test_callback.py sft/test_sft_finite.py tasks/test_every_task.py grpo/test_grpo.py
""".split()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    names = [f"/tests/{name}" for name in LONGEST]

    def place(item: pytest.Item) -> int:
        path = item.path.as_posix()
        return next((i for i, name in enumerate(names) if path.endswith(name)), len(names))

    items.sort(key=place)


@pytest.fixture(scope="module", autouse=True)
def imported_for_good() -> None:
    """What is imported stays, and need not be looked at whenever garbage is collected.

    accelerate collects it at each beginning of a training, which took most of a short one.
    """
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # or extensions would report all that is left as leaks


def skip_if_missing(report: Report, call: pytest.CallInfo, path: object) -> Report:
    """A skip in place of a failure to import an optional package; under CI the failure stays, or
    an install step that is missing there would look like success."""
    error = call.excinfo.value if call.excinfo and "CI" not in os.environ else None
    # Only what was raised "from" the failure: an error met while handling it is one of our own.
    while isinstance(error, (ImportError, pytest.Collector.CollectError)):
        if isinstance(error, ModuleNotFoundError) and error.name in OPTIONAL:
            report.outcome = "skipped"
            reason = f"Skipped: needs {error.name}, which is not installed"
            report.longrepr = (str(path), None, reason)
        error = error.__cause__
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    return skip_if_missing(report, report.call, collector.path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return skip_if_missing((yield), call, item.path)
