"""Files, JSON lines and arguments: nothing about exits."""
