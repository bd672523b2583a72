"""Random inputs against everything that reads what others wrote; see `engine` for the rules, `python -m
fuzz --help` to run it."""
