#!/usr/bin/env bash
# The extension in place, unless the one that is there has its CUDA kernels and is younger than its
# sources (it would measure yesterday's kernels); then what the machine is.
PYTHON=${PYTHON:-python3}
built='import torch, percbal_ops, sys
sys.exit(not hasattr(torch.ops.percbal_cuda, "weighted_cross_entropy_out"))'
stale=$(find csrc setup.py -newer percbal_ops/_C.abi3.so 2>&1 | head -n 1)
status=0
if [ -n "$stale" ] || ! "$PYTHON" -c "$built" 2>/dev/null; then
  if command -v nvcc >/dev/null || [ ! -e percbal_ops/_C.abi3.so ]; then
    "$PYTHON" setup.py build_ext --inplace >"$RESULTS/build.log" 2>&1 || status=$?
    tail -n 3 "$RESULTS/build.log"
  fi
fi
"$PYTHON" -m gpu.machine || status=$?
exit "$status"
