"""Tell others of a model: its card, and its place on the Hugging Face hub."""
