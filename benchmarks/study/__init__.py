"""Repeat the paper's comparison on a small machine: `python -m benchmarks.study DATASET`.

`plan.py` says what is compared, `training.py` trains it, `measuring.py` measures it, `report.py`
turns the numbers in `docs/results/study/` into figures and tables.
"""
