"""Asking before much is thrown away."""

import sys
from collections.abc import Callable

import click


def ask_first(what: str, question: Callable[[], str]) -> None:
    """Returns when somebody at the terminal says yes; Abort (exit 1) on a no, bad usage (exit 2) without a terminal.

    `question` is only worked out when there is somebody to ask.
    """
    if not sys.stdin.isatty():
        raise click.UsageError(f"{what} without a terminal to ask on: add --yes (or --dry-run to see what would go)")
    click.confirm(question(), abort=True, err=True)
