#!/usr/bin/env bash
# Makes $VENV and installs both packages into it, editable, with the compiled operators.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
cd "$here"

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "percbal needs Python 3.11 or newer; $PYTHON is $("$PYTHON" --version 2>&1)"; exit 1; }

if [ ! -x "$VENV/bin/python" ]; then
  # A torch that the machine already has (a CUDA build, often) is used, not downloaded again.
  if "$PYTHON" .ci/torch_bound.py --here 2>/dev/null; then shared=--system-site-packages; else shared=; fi
  "$PYTHON" -m venv $shared "$VENV"
fi
pip() { "$VENV/bin/python" -m pip install --quiet "$@"; }

if ! "$VENV/bin/python" .ci/torch_bound.py --here 2>/dev/null; then
  if [ -z "${TORCH:-}" ]; then
    # Without an NVIDIA driver a CPU build is wanted. Which build a version means is up to the index
    # or folder that pip is configured with; a range would always take the newest, with CUDA.
    if command -v nvidia-smi >/dev/null; then TORCH=$("$PYTHON" .ci/torch_bound.py)
    else TORCH="torch==2.13.0"; fi
  fi
  echo "percbal: installing $TORCH; from PyPI it may be gigabytes of CUDA, and with" \
    "PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu it is the CPU build"
  pip "$TORCH"
fi
"$VENV/bin/python" -c '
import torch
kind = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU"
print(f"percbal: using torch {torch.__version__} ({kind} build)")'

# The torchvision of this torch, and it alone: asked for with percbal, pip takes the newest and, to suit it,
# another torch, gigabytes of CUDA.
vision=yes
"$VENV/bin/python" -c 'import sys, importlib.util as util; sys.exit(not util.find_spec("torchvision"))' ||
  pip --no-deps "$("$VENV/bin/python" .ci/torch_bound.py --torchvision)" || vision=no

pip "setuptools>=77" wheel ninja pybind11
# No build isolation: an isolated build would download a torch of its own.
if [ "$vision" = yes ]; then
  pip --no-build-isolation -e ".[test,bench,dev]"
else
  echo "percbal: there is no torchvision for this torch, so models whose processors need it are left out"
  "$VENV/bin/python" .ci/torch_bound.py --needs | pip -r /dev/stdin
  pip --no-build-isolation --no-deps -e .
fi
# Beside a CPU torch, PyPI's torchvision lacks its compiled operators, which no image processor uses, and
# fails in the one file that describes them to torch.compile.
[ "$vision" = no ] || "$VENV/bin/python" -c "import torchvision" 2>/dev/null ||
  : >"$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/torchvision/_meta_registrations.py"

"$VENV/bin/python" -c '
import percbal_ops
served = percbal_ops.implementation("weighted_cross_entropy", "cpu")
print("percbal: the C++ operators are", "ON" if served == "cpp" else
      "OFF (no working C++ compiler was found); plain PyTorch serves instead")'
