"""Serve exported models over HTTP. Needs the extra `serve`, and neither AllenNLP nor torch.

The name begins with an underscore since AllenNLP's `--include-package sledgehammer` imports all modules
but those, and the extra need not be installed.
"""
