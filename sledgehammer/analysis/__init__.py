"""Compute the speed/accuracy curve, and what is read off it."""
