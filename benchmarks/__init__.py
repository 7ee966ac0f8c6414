"""Measure speed, and reproduce the study."""
