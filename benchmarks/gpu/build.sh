#!/usr/bin/env bash
# The extension in place, unless the one that is there has its CUDA kernels; then what the machine is.
PYTHON=${PYTHON:-python3}
built='import torch, percbal_ops, sys
sys.exit(not hasattr(torch.ops.percbal_cuda, "weighted_cross_entropy_out"))'
# older than a source, it would measure yesterday's kernels
stale=$(find csrc setup.py -newer percbal_ops/_C.abi3.so 2>/dev/null | head -n 1)
if [ -n "$stale" ] || ! "$PYTHON" -c "$built" 2>/dev/null; then
  rm -f percbal_ops/_C.abi3.so
  "$PYTHON" setup.py build_ext --inplace >"$RESULTS/build.log" 2>&1
  tail -n 3 "$RESULTS/build.log"
fi
"$PYTHON" -m gpu.machine
