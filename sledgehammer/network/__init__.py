"""The torch parts: encoder, exits, and the loop that stops rows."""
