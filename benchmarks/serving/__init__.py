"""Measure what `sledgehammer serve` adds to an engine, and what it takes.

python -m benchmarks.serving out/sst_int8 reviews.txt --threads 1
"""
