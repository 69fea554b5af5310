"""System: what the process does and how much of everything it takes, for operators."""
