#!/usr/bin/env bash
# What to bring to a GPU machine without a network, in two loads of at most 64 MiB:
#   bash benchmarks/gpu/bring.sh FOLDER      # FOLDER/1 and FOLDER/2, with a list of sizes
# quack's compiler is one wheel of 88 MB: its parts go with the two loads.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
PYTHON=${PYTHON:-python3}
out=$1
mkdir -p "$out/1" "$out/2"
while read -r wheel; do
  "$PYTHON" -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 \
    --implementation cp --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
    --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 --dest "$out/1" "$wheel"
done < <(grep -v '^#' "$here/bring.txt")
big=$(ls "$out"/1/nvidia_cutlass_dsl_libs_cu13-*.whl)
split --bytes=36M --numeric-suffixes=1 --suffix-length=1 "$big" "$out/1/$(basename "$big").part"
mv "$out"/1/*.part[2-9] "$out/2/"
rm "$big"
# the extension of an environment as the machine's, if one was built: see rehearse.sh
built=$here/../../build/gpu-rehearsal/tree/percbal_ops/_C.abi3.so
if [ -e "$built" ]; then strip -o "$out/1/_C.abi3.so" "$built"; fi
for load in 1 2; do
  (cd "$out/$load" && ls -l | awk 'NF > 5 { print $5, $9; sum += $5 } END { print sum, "in all" }')
done
