"""Compute exits in PyTorch: the encoder, the exit heads, and the loop that stops rows."""
