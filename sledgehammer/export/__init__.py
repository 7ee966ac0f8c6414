"""Writing the directories that `sledgehammer.engine` reads."""
