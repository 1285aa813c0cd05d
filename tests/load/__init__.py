"""The load suite: traffic as it comes, with bounds that fail the run (docs/load.md)."""
