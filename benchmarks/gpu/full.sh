#!/usr/bin/env bash
# Five minutes more, after quick.sh: the trainers, the sweeps, the counters, the memory checker.
#   bash benchmarks/gpu/full.sh [--minutes 5]
. "$(dirname "$0")/steps.sh"
begin full 5 "$@"
step train 110 "$PYTHON" -m gpu.train sft grpo
step sweep 45 "$PYTHON" -m gpu.kernels sweep
step quack 50 bash benchmarks/gpu/quack.sh
step counters 30 bash benchmarks/gpu/counters.sh
step logprob 15 "$PYTHON" -m gpu.kernels logprob
step memory 45 bash benchmarks/gpu/memory.sh
finish
