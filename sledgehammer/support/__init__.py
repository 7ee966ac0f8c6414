"""Handle files, JSON lines and arguments: nothing here knows of exits."""
