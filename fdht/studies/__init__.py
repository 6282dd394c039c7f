"""Measurements and comparisons: benchmark, formats against each other, precision, compression, and their pictures."""
