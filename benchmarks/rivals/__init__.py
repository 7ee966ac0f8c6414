"""Compare the curve, with and without the lexical exit, with rivals that run no transformer.

`__main__.py` times them on a dataset of the study, `learning.py` says what the rivals gain from
more rows, `cost.py` what a text costs below the first layer, `report.py` draws and writes the page.
"""
