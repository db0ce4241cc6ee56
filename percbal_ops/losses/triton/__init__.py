"""The kernels of the losses on GPUs: Triton everywhere, the launch of CUDA C++ on Hopper.

May import: torch, triton, reference.accumulate_dtype. Never: library, api.
"""
