"""What no single part holds: secrets, injection and walls over the whole program."""
