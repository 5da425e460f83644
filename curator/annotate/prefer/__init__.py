"""Blind comparison: people choose between captions of several versions."""
