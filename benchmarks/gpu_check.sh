#!/bin/sh
# Everything a GPU can tell about this tree, in ten minutes: build, tests, memory checks, benchmarks.
#   sh benchmarks/gpu_check.sh      # tables and plots go to benchmarks/results/
# Each step runs whatever became of the one before; the last line counts the failures.
cd "$(dirname "$0")/.." || exit 1
PYTHON=${PYTHON:-python3}
failures=0

step() { # name, seconds, command...
  name=$1 limit=$2
  shift 2
  echo "== $name"
  if timeout "$limit" "$@"; then
    echo "== $name: passed"
  else
    echo "== $name: FAILED or out of time (status $?)"
    failures=$((failures + 1))
  fi
}

if ! $PYTHON -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  echo "no GPU: nothing checked"
  exit 0
fi
nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem --format=csv || true
unset TRITON_INTERPRET
GPU_TESTS="tests/test_triton_kernels.py tests/test_triton_no_wait.py tests/test_cuda_sources.py"
DEVICE_TESTS="tests/test_coupling.py tests/test_agreement.py"  # they have a device parameter
SANITIZED="aligned or holes or slice"

step build 90 $PYTHON setup.py build_ext --inplace
step "kernels on the GPU" 75 $PYTHON -m pytest -q $GPU_TESTS
step "coupling and agreement on the GPU" 45 $PYTHON -m pytest -q -k cuda $DEVICE_TESTS
step "cluster kernel chosen on the GPU" 20 env PERCBAL_CLUSTER=1 \
  $PYTHON -m pytest -q tests/test_triton_kernels.py -k cluster
if command -v compute-sanitizer >/dev/null; then
  step "memory check" 45 compute-sanitizer --error-exitcode 1 --tool memcheck \
    $PYTHON -m pytest -q -x tests/test_triton_kernels.py -k "$SANITIZED"
else
  echo "== memory check: skipped, compute-sanitizer is not installed"
fi
step "all other tests" 110 $PYTHON -m pytest -q -n auto --dist loadfile -m "not slow" \
  --ignore tests/test_triton_kernels.py --ignore tests/test_triton_no_wait.py \
  --ignore tests/test_cuda_sources.py
step "benchmark of rows" 110 $PYTHON benchmarks/bench_cross_entropy_gpu.py --minutes 1.4 \
  --vocabs 152064 50257 --dtypes bf16
step "benchmark from hidden states" 90 $PYTHON benchmarks/bench_linear_gpu.py --minutes 1 \
  --models Qwen2.5-VL-7B
step plot 15 $PYTHON benchmarks/plot.py benchmarks/results/cross_entropy_gpu.csv
echo "$failures steps failed"
exit "$failures"
