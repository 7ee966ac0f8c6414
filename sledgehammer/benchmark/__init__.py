"""Time exits and their rivals against each other, each in a process of its own."""
