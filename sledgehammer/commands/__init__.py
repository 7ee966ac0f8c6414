"""Extend AllenNLP's command line: one file for each subcommand, and patches of AllenNLP's own."""
