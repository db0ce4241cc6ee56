#!/usr/bin/env bash
# Seven minutes on a GPU: is it right, what does the machine do at most, how near do we come?
#   bash benchmarks/gpu/quick.sh [--minutes 7]      # JSON lines in $RESULTS (default gpu_results/)
# What is already in $RESULTS is not measured again.
. "$(dirname "$0")/steps.sh"
begin quick 7 "$@"
step build 60 bash benchmarks/gpu/build.sh
step check 55 "$PYTHON" -m gpu.check
step ceilings 45 "$PYTHON" -m gpu.kernels ceilings times
step tests 75 "${PYTEST[@]}" tests/losses/test_triton_kernels.py tests/losses/test_triton_scalar_passes.py tests/losses/test_triton_no_wait.py tests/losses/test_triton_segments.py \
  tests/linear/test_triton_logprob.py \
  tests/coupling/test_coupling.py tests/coupling/test_coupling_sums.py tests/coupling/test_coupling_stats.py tests/coupling/test_agreement.py \
  tests/cuda/test_cuda_sources.py::test_kernel_agrees_with_triton_on_hopper
step rows 80 "$PYTHON" -m gpu.rows --minutes 1.1 --vocabs "$VOCAB" --dtypes bf16
step linear 75 "$PYTHON" -m gpu.linear --minutes 1.0 --models "$MODEL"
step host 25 "$PYTHON" -m gpu.kernels host
finish
