"""Timing exits and rivals against each other, each in a process of its own."""
