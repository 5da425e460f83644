"""Tests of the checks before training."""
