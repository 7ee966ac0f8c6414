"""Extend AllenNLP's training: callbacks, data loading, fine-tuning, pruning."""
