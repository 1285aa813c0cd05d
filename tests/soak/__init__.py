"""Hours of use in minutes: mixed traffic over several instances while one thing after the other fails, and oracles that
know what may come back meanwhile. `make soak`, or `python -m tests.soak --help`."""
