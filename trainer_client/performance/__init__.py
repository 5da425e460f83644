"""What makes passes faster without changing results: precision, compilation, CUDA graphs, memory formats."""
