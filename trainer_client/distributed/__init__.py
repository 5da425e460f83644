"""Distributed training: ranks, sharded weights, gradient sums."""
