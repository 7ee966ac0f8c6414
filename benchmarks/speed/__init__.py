"""Speeds of exported models: what `allennlp benchmark` found, and the README's table of it."""
