#!/usr/bin/env bash
# quack beside ours, where quack and its compiler (nvidia-cutlass-dsl) are installed.
PYTHON=${PYTHON:-python3}
"$PYTHON" -c 'import quack.cross_entropy' || { echo "quack is not installed"; exit 0; }
"$PYTHON" -m gpu.rows --minutes 0.5 --vocabs "$VOCAB" --dtypes bf16 \
  --providers "percbal CUDA" quack "quack, gradient in forward"
"$PYTHON" -m gpu.linear --minutes 0.3 --models "$MODEL" --providers quack
