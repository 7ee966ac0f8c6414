"""Calibrated early exits for transformer classifiers, as an AllenNLP plugin.

Importing the package is instant and needs neither AllenNLP nor torch; what registers
classes with AllenNLP is `sledgehammer.plugin`.
"""

__version__ = "0.2.0"
