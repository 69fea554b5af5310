"""System: the state of the process and its use of resources, for operators."""
