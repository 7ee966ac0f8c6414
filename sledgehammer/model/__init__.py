"""The AllenNLP side: the model, its predictor and its archives."""
