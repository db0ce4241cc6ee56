#!/usr/bin/env bash
# Five minutes more, after quick.sh: the trainers, the sweeps, the counters, the memory checker.
#   bash benchmarks/gpu/full.sh [--minutes 5]
. "$(dirname "$0")/steps.sh"
begin full 5 "$@"
step train 80 "$PYTHON" -m gpu.train sft grpo
step families 90 bash benchmarks/gpu/families.sh
step around 25 "$PYTHON" -m gpu.kernels around
step sweep 45 "$PYTHON" -m gpu.kernels sweep
step quack 115 bash benchmarks/gpu/quack.sh
step counters 25 bash benchmarks/gpu/counters.sh
step logprob 20 "$PYTHON" -m gpu.kernels logprob
step dropped 25 "$PYTHON" -m gpu.kernels dropped
step memory 22 bash benchmarks/gpu/memory.sh
finish
