#!/usr/bin/env bash
# compute-sanitizer's memcheck of the CUDA C++ kernel. The caching allocator is off: inside its
# large blocks a read beyond a tensor goes unseen.
PYTHON=${PYTHON:-python3}
TEST=tests/cuda/test_cuda_sources.py::test_kernel_agrees_with_triton_on_hopper
RUN=("$PYTHON" -m pytest -q -x -p no:cacheprovider "$TEST" -k 16392)
if [ "${PERCBAL_GPU_REHEARSAL:-}" = 1 ]; then
  "${RUN[@]}" -rs # skipped, with its reason
elif command -v compute-sanitizer >/dev/null; then
  PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --target-processes application-only \
    --tool memcheck --error-exitcode 9 "${RUN[@]}"
else
  echo "compute-sanitizer is not installed"
fi
