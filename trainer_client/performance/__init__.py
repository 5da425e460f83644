"""Faster passes with the same results: precision, compilation, CUDA graphs, memory formats."""
