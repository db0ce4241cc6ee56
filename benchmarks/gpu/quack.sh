#!/usr/bin/env bash
# quack beside ours, where quack and its compiler (nvidia-cutlass-dsl) are installed.
PYTHON=${PYTHON:-python3}
# a .pth file would add this folder, but is not read in folders of PYTHONPATH
dsl=$("$PYTHON" -c 'import nvidia_cutlass_dsl as d; print(d.__path__[0])' 2>/dev/null) &&
  export PYTHONPATH=$PYTHONPATH:$dsl/dsl_packages
"$PYTHON" -c 'import quack.cross_entropy' || { echo "quack is not installed"; exit 0; }
"$PYTHON" -m gpu.rows --minutes 0.5 --vocabs "$VOCAB" --dtypes bf16 \
  --providers percbal quack "quack, gradient in forward"
# its linear loss tunes itself for more than a minute before the first call returns
"$PYTHON" -m gpu.linear --minutes 0.3 --models "$MODEL" --providers quack
