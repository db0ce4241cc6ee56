#!/usr/bin/env bash
# Every family, twelve at a time: each is a process of small kernels and much host.
PYTHON=${PYTHON:-python3}
names=$("$PYTHON" -c 'import sys; sys.path.insert(0, "tests/families"); from zoo import WORKING; print(*WORKING)') || exit 1
[ "${PERCBAL_GPU_REHEARSAL:-}" = 1 ] && names="llava qwen3_vl"
echo "$names" | tr ' ' '\n' | xargs -P "${FAMILIES_AT_ONCE:-12}" -n 1 "$PYTHON" -m gpu.families
