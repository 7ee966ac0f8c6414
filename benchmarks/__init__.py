"""What measures speed and what reproduces the study."""
