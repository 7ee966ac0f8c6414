"""Speeds of exported models: turns what `allennlp benchmark` found into tables."""
