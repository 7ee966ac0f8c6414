"""Write model cards: what is known of a model, for the people who use it. Nothing is invented."""
