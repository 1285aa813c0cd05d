"""Asking before much is thrown away."""

import sys
from collections.abc import Callable

import click


def ask_first(what: str, question: Callable[[], str], *, or_else: str = "") -> None:
    """Returns when somebody at the terminal says yes; Abort (exit 1) on a no, bad usage (exit 2) without a terminal.

    `question` is only worked out when there is somebody to ask; `or_else` is what may be done instead of --yes.
    """
    if not sys.stdin.isatty():
        raise click.UsageError(f"{what} without a terminal to ask on: add --yes{or_else}")
    click.confirm(question(), abort=True, err=True)
