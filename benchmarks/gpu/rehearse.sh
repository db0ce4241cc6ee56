#!/usr/bin/env bash
# quick.sh and full.sh to the point where only the GPU is missing, in an environment as the machine's:
# Python 3.12, torch 2.11.0 with CUDA 13, Triton 3.6 (some 6 GB). The log is rehearsal.log beside this.
#   PYTHON312=python3.12 bash benchmarks/gpu/rehearse.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD/benchmarks/gpu where=$PWD/build/gpu-rehearsal
PYTHON312=${PYTHON312:-python3.12}
mkdir -p "$where"
if [ ! -e "$where/venv/ready" ]; then
  "$PYTHON312" -m venv "$where/venv"
  "$where/venv/bin/pip" install --quiet -r "$here/environment.txt"
  touch "$where/venv/ready"
fi
# the wheels as such a machine gets them: beside its own packages, without their dependencies
if [ ! -e "$where/site/ready" ]; then
  grep -v -e '^#' -e cutlass "$here/bring.txt" >"$where/bring.txt"
  "$where/venv/bin/pip" install --quiet --no-deps --target "$where/site" -r "$where/bring.txt"
  touch "$where/site/ready"
fi
# a copy of the files, without git; what was compiled for it stays
mkdir -p "$where/tree"
git ls-files --cached --others --exclude-standard -z |
  while IFS= read -r -d '' file; do [ -e "$file" ] && printf '%s\0' "$file"; done |
  tar --create --null --files-from=- | tar --extract --directory "$where/tree"
cd "$where/tree"
export PERCBAL_GPU_REHEARSAL=1 PYTHON=$where/venv/bin/python PYTHONPATH=$where/site WORKERS=2
export RESULTS=$where/results SCRATCH=$where/scratch GIT_DIR=/nonexistent
rm -rf "$RESULTS"
# two cores are no sixteen: there is no such limit to the build here
mkdir -p "$RESULTS"
PATH=$where/venv/bin:$PATH PYTHONPATH=$PWD:$PWD/python:$PWD/benchmarks:$where/site bash benchmarks/gpu/build.sh
status=0
{
  bash benchmarks/gpu/quick.sh --minutes 30
  bash benchmarks/gpu/full.sh --minutes 30
  "$PYTHON" benchmarks/gpu/rehearsal.py "$RESULTS/facts.jsonl"
} 2>&1 | grep --line-buffered -v -e USDT: -e 'Loading weights' -e 'Writing model' -e 'No CUDA runtime' | sed --unbuffered "s#$where/##g" >"$here/rehearsal.log" || status=$?
tail -n 40 "$here/rehearsal.log"
exit "$status"
