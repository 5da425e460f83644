"""Faster passes with the same results."""
