"""Connect to AllenNLP: the model, its predictor and its archives."""
