#!/usr/bin/env bash
# Six minutes more, after quick.sh: the trainers, the families, sweeps, counters, the memory checker.
#   bash benchmarks/gpu/full.sh [--minutes 6]
. "$(dirname "$0")/steps.sh"
begin full 6 "$@"
step train 80 "$PYTHON" -m gpu.train sft grpo
step logprob 20 "$PYTHON" -m gpu.kernels logprob
step dropped 20 "$PYTHON" -m gpu.kernels dropped
step families 70 bash benchmarks/gpu/families.sh
step memory 22 bash benchmarks/gpu/memory.sh
step counters 25 bash benchmarks/gpu/counters.sh
step sweep 45 "$PYTHON" -m gpu.kernels sweep
step quack 78 bash benchmarks/gpu/quack.sh
finish
