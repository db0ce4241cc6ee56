"""Builds the compiled operators; everything else about the package is in pyproject.toml.

`_C` registers tensor operators through the LibTorch stable ABI (one binary for many versions of
torch and Python); `_text` is a pybind11 module for what tensors cannot carry: Python strings.
Sources are listed once, in csrc/sources.txt, for this file and for CMakeLists.txt.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import setuptools

# an older one would call the licence in pyproject.toml invalid
if int(setuptools.__version__.split(".")[0]) < 77:
    sys.exit(
        f"percbal needs setuptools 77 or newer to be built, and this is {setuptools.__version__}: "
        "pip install 'setuptools>=77'"
    )
import torch  # noqa: E402  not needed to say this


def find_toolkit():
    """Sets CUDA_HOME, which torch takes for the folder above the nvcc on the PATH. Where that is a
    script that calls the compiler of another folder, the link would fail after all the compiling.
    """
    nvcc = shutil.which("nvcc")
    if nvcc is None or os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH"):
        return
    # a dry run reads no source and says where the compiler itself lives
    command = [nvcc, "--dryrun", "-c", "no.cu"]
    try:
        said = subprocess.run(command, capture_output=True, text=True).stderr
    except OSError:  # no program of this machine: the build will say so and leave CUDA out
        return
    real = re.findall(r"^#\$ TOP=(.+)$", said, re.MULTILINE)
    for root in (Path(nvcc).parents[1], *map(Path, real), Path("/usr/local/cuda")):
        if any((root / lib / "libcudart.so").exists() for lib in ("lib64", "lib")):
            os.environ["CUDA_HOME"] = str(root.resolve())
            return


find_toolkit()
from torch.utils.cpp_extension import (  # noqa: E402  looks for CUDA_HOME as it is imported
    CUDA_HOME,
    BuildExtension,
    CppExtension,
    CUDAExtension,
)

try:
    from pybind11 import get_include as pybind11_include
except ImportError:
    pybind11_include = None

# CUDA sources are built when torch has CUDA and a toolkit is found; no GPU need be present.
CUDA = torch.version.cuda is not None and CUDA_HOME is not None
CUDA = os.environ.get("PERCBAL_CUDA", str(int(CUDA))) == "1"
# free-threaded Python has none: its Python.h refuses the macro
LIMITED_API = not sysconfig.get_config_var("Py_GIL_DISABLED")
# torch's own choice differs between its versions
STANDARD = "-std=c++20"


def oldest_torch():
    """The lower bound in pyproject.toml, as LibTorch's stable ABI writes a version."""
    needs = tomllib.loads(Path("pyproject.toml").read_text())["project"]["dependencies"]
    (taken,) = (need for need in needs if need.startswith("torch>="))
    major, minor = re.findall(r"\d+", taken)[:2]
    return f"0x{int(major):02X}{int(minor):02X}{0:012X}"


STABLE = [f"-DTORCH_TARGET_VERSION={oldest_torch()}"]
STABLE += ["-DPy_LIMITED_API=0x030A0000"] if LIMITED_API else []
# Python's own flags ask for debug information: nine tenths of the libraries. -s drops the symbol
# table, too, which nothing reads at run time.
NO_DEBUG = ["-g0"]
STRIP = ["-Wl,-s"] if sys.platform == "linux" else []
LINES = [line.split() for line in Path("csrc/sources.txt").read_text().splitlines()]


def sources(*groups: str) -> list[str]:
    return [f"csrc/{path}" for group, path in filter(None, LINES) if group in groups]


class OptionalBuild(BuildExtension):
    """A CUDA toolkit that fails leaves the CPU operators, a compiler that fails the pure-Python
    install; both are said."""

    def build_extensions(self):
        for ext in self.extensions:
            ext.optional = True  # or setuptools misses the file that was not built
        try:
            super().build_extensions()
        except Exception as error:  # noqa: BLE001  no compiler, or one that torch refuses
            if any(without_cuda(ext, error) for ext in self.extensions):
                self.build_extensions()
            else:
                print(f"percbal: the C++ operators are OFF ({error})")

    def build_extension(self, ext):
        try:
            super().build_extension(ext)
        except Exception as error:  # noqa: BLE001  ninja, distutils and gcc fail in different ways
            if without_cuda(ext, error):
                self.build_extension(ext)
            else:
                print(f"percbal: the C++ operators are OFF ({ext.name} was not built: {error})")


def without_cuda(ext, error):
    """Leaves CUDA out of an extension and says why; False if there is none in it."""
    if not any(source.endswith(".cu") for source in ext.sources):
        return False
    print(f"percbal: the CUDA C++ kernels are OFF ({error})")
    ext.sources = sources("core", "cpu")
    ext.libraries = [name for name in ext.libraries if "cuda" not in name]
    ext.extra_compile_args["cxx"].remove("-DUSE_CUDA")
    return True


def extensions():
    make = CUDAExtension if CUDA else CppExtension
    flags = {"cxx": ["-O3", STANDARD, "-fno-math-errno", "-fvisibility=hidden", *NO_DEBUG, *STABLE]}
    # machine code for Hopper, and portable code that the driver compiles for other GPUs
    hopper, others = "arch=compute_90a,code=sm_90a", "arch=compute_80,code=compute_80"
    nvcc = [
        "-O3",
        STANDARD,
        "-lineinfo",
        "-DUSE_CUDA",
        f"-gencode={hopper}",
        f"-gencode={others}",
        *STABLE,
    ]
    flags |= {"nvcc": nvcc} if CUDA else {}
    flags["cxx"] += ["-DUSE_CUDA"] if CUDA else []
    operators = sources("core", "cpu", *(["cuda"] if CUDA else []))
    # include_dirs are absolute: ninja compiles from the build folder
    include = [str(Path("csrc").resolve())]
    yield make(
        "percbal_ops._C",
        operators,
        include_dirs=include,
        py_limited_api=LIMITED_API,
        extra_compile_args=flags,
        extra_link_args=STRIP,
    )
    if pybind11_include and sources("text"):
        yield CppExtension(
            "percbal_ops._text",
            sources("core_text", "text"),
            include_dirs=[*include, pybind11_include()],
            extra_compile_args={"cxx": ["-O3", STANDARD, *NO_DEBUG]},
            extra_link_args=STRIP,
        )


setuptools.setup(ext_modules=list(extensions()), cmdclass={"build_ext": OptionalBuild})
