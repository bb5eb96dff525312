"""The commands, one file each: `add` declares its words, `run` does it and returns the exit code. What it raises of
ours, or of files, is said by `__main__`, with exit code 2."""
