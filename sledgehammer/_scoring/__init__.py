"""Score folders of Parquet, CSV and JSON lines with an exported model: here, or on a Ray cluster.

AllenNLP and torch are not needed; Parquet needs pyarrow, URLs need fsspec, a cluster needs Ray.
"""
