# Sourced by quick.sh and full.sh: an environment, and steps that never take more than they may.
#   begin NAME MINUTES [--minutes N]; step NAME SECONDS COMMAND...; finish
# Whatever becomes of a step, the next one runs. Its limit is cut to what is left of the script's
# minutes; $RESULTS/facts.jsonl says how long each took and how it ended.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
PYTHON=${PYTHON:-python3}
export RESULTS=${RESULTS:-$PWD/gpu_results}
export SCRATCH=${SCRATCH:-${TMPDIR:-/tmp}/percbal_gpu}  # compiled kernels, for the next run too
mkdir -p "$RESULTS" "$SCRATCH"
export PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
export TRITON_CACHE_DIR=$SCRATCH/triton TORCHINDUCTOR_CACHE_DIR=$SCRATCH/inductor
export PYTHONPATH=$PWD:$PWD/python:$PWD/benchmarks${PYTHONPATH:+:$PYTHONPATH}
unset PERCBAL_BACKEND PERCBAL_CLUSTER_BLOCKS
if [ "${PERCBAL_GPU_REHEARSAL:-}" = 1 ]; then export TRITON_INTERPRET=1; else unset TRITON_INTERPRET; fi
PYTEST=("$PYTHON" -m pytest -q -p no:cacheprovider -p gpu.pytest_facts -rfE)
"$PYTHON" -c 'import xdist' 2>/dev/null && PYTEST+=(-n "${WORKERS:-12}")
"$PYTHON" -c 'import pytest_timeout' 2>/dev/null && PYTEST+=(--timeout 60)
REHEARSAL_SLACK=${REHEARSAL_SLACK:-5}
VOCAB=152064 MODEL=Qwen2.5-VL-7B
if [ "${PERCBAL_GPU_REHEARSAL:-}" = 1 ]; then VOCAB=5008 MODEL=tiny; fi
export VOCAB MODEL

begin() { # name, minutes, and the script's own arguments
  SCRIPT=$1 minutes=$2
  [ "${3:-}" = --minutes ] && minutes=${4:?--minutes takes a number}
  BEGAN=$(date +%s)
  DEADLINE=$(awk "BEGIN { print int($BEGAN + 60 * $minutes) }")
  if [ "${PERCBAL_GPU_REHEARSAL:-}" != 1 ]; then
    "$PYTHON" -c 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else 3)'
    case $? in
      0) ;;
      3) echo "no GPU: nothing measured"; exit 0 ;;
      *) exit 1 ;;
    esac
  fi
}

step() { # name, seconds at most, command...
  local name=$1 limit=$2 now status
  shift 2
  now=$(date +%s)
  if [ $((DEADLINE - now)) -lt 3 ]; then
    echo "== $name: not begun, out of time"
    log_step "$name" 0 '"not begun"' "$limit"
    return
  fi
  # two cores that other work may share are no measure of a GPU machine's sixteen
  [ "${PERCBAL_GPU_REHEARSAL:-}" = 1 ] && limit=$((limit * REHEARSAL_SLACK))
  [ "$limit" -gt $((DEADLINE - now)) ] && limit=$((DEADLINE - now))
  echo "== [$((now - BEGAN)) s] $name, at most $limit s"
  # an interrupt first: pytest then still writes what it knows
  local grace=$((limit >= 20 ? 8 : 1))
  timeout --signal=INT --kill-after=$grace $((limit > grace ? limit - grace : 1)) "$@"
  status=$?
  echo "== $name: status $status after $(($(date +%s) - now)) s"
  log_step "$name" $(($(date +%s) - now)) $status "$limit"
}

log_step() { # name, seconds, status, limit
  printf '{"part": "steps", "key": "%s: %s", "seconds": %s, "status": %s, "limit": %s}\n' "$SCRIPT" "$1" "$2" "$3" "$4" \
    >>"$RESULTS/facts.jsonl"
}

finish() {
  echo "== $SCRIPT done after $(($(date +%s) - BEGAN)) s; results in $RESULTS"
}
