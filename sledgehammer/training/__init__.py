"""What happens around training: callbacks, data loading, fine-tuning, pruning."""
