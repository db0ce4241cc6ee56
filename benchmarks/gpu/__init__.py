"""What a GPU tells about this tree: `bash benchmarks/gpu/quick.sh`, then `full.sh`; see README.md.

May import percbal_ops, percbal, and the peers it measures; nothing imports it but its tests.
"""
