"""What the command line does beyond AllenNLP's own: one file a subcommand."""
