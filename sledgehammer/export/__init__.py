"""Write the directories that `sledgehammer.engine` reads."""
