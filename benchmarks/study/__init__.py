"""The paper's comparison on a small machine: `python -m benchmarks.study DATASET`.

`plan.py` says what is compared, `training.py` trains it, `measuring.py` measures it, `report.py`
turns the numbers of `results/` into the README's figures and tables.
"""
