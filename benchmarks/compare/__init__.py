"""Compare every objective with every policy, on the same backbone and data.

Run `python -m benchmarks.compare DATASET`. It is built like `benchmarks/study`, whose plan and
training it uses: `plan.py` says what is compared, `measuring.py` measures it, `report.py` turns the
numbers in `docs/results/comparison/` into its page.
"""
