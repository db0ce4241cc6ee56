"""The kernels of the losses on GPUs: Triton everywhere, the launch of CUDA C++ on Hopper.

May import: triton, reference.accumulate_dtype. Never: library, api.
"""
