"""Several processes: ranks, sharded weights, gradient sums."""
