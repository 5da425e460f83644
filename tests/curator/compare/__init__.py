"""Tests of caption sets side by side."""
