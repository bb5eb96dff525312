"""The commands, one file each: `add` declares its words, `run` does it and returns the exit code."""
