#!/usr/bin/env bash
# The hardware's counters by ncu: time, bytes from and to memory, the share of L2 hits, warps active.
PYTHON=${PYTHON:-python3}
NAMES=gpu__time_duration.sum,dram__bytes_read.sum,dram__bytes_write.sum
NAMES+=,lts__t_sector_hit_rate.pct,sm__warps_active.avg.pct_of_peak_sustained_active
NCU=(ncu --clock-control none -k 'regex:loss_kernel|cluster_kernel' -c 4 --metrics "$NAMES" --csv)
command -v ncu >/dev/null && [ "${PERCBAL_GPU_REHEARSAL:-}" != 1 ] || NCU=()
"${NCU[@]}" "$PYTHON" -m gpu.counted >"$SCRATCH/counters.csv" || { tail "$SCRATCH/counters.csv"; exit 1; }
"$PYTHON" -m gpu.counted --read "$SCRATCH/counters.csv"
