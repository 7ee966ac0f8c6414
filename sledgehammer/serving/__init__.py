"""Serve exported models over HTTP. Needs the extra `serve`, and neither AllenNLP nor torch."""
