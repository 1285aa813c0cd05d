"""The command `cachegate`: one function and one file per verb.

A verb's module is imported when the verb is called, so that `--help` stays quick. A verb returns its exit code (None
is 0); every error ends in `main`: 0 done, 1 the answer is "no", 2 bad usage or configuration.
"""

import errno
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches

import click

from proxy.errors import ConfigError
from proxy.importing import imported
from proxy.version import VERSION

VERBS = {
    "serve": "Run the gateway. Bare flags mean this: cachegate --upstream URL",
    "demo": "Run a small API, slow on purpose, to put the gateway in front of.",
    "check": "Validate the settings and rules, and run the rules' tests.",
    "stats": "Show what a running gateway counts.",
    "monitor": "Watch a running gateway on the terminal.",
    "health": "Say whether a running gateway is well.",
    "explain": "Say why a request is answered from store, or is not.",
    "purge": "Forget stored answers by URL, key, pattern, tag, rule or namespace.",
    "clear": "Empty the tiers.",
    "warm": "Fetch answers before clients ask for them: URLs, a log, a sitemap, or what is hot.",
    "replay": "Judge the requests of a log by rules: hit ratio, savings, memory needed.",
    "suggest": "Say what rules could ignore, and lifetimes, from a log or a running gateway.",
    "doctor": "Try Redis, the upstreams and the cache directory as the settings name them.",
}
OWN_FLAGS = ("-h", "--help", "--version")


class Verbs(click.Group):
    """Finds `proxy.cli.<verb>.command` by name; what begins with a flag is `serve`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = imported(f"proxy.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            close = get_close_matches(args[0], VERBS, n=1)
            if not close:
                raise
            raise click.UsageError(f"{error.message.rstrip('.')}; did you mean '{close[0]}'?", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in OWN_FLAGS):
            args = ["serve", *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog="Each command explains itself: cachegate COMMAND --help",
)
@click.version_option(VERSION, message="cachegate %(version)s")
def program() -> None:
    """A caching HTTP gateway that can say why a request was a miss."""


def main(args: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; nothing but the verbs themselves writes elsewhere than stderr."""
    _open_what_is_closed()
    try:
        status = program.main(args, prog_name="cachegate", standalone_mode=False)
    except click.Abort:
        click.echo("stopped", err=True)
        return 1
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except ConfigError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        return 2
    except OSError as error:
        if error.errno != errno.ENOSPC:  # click itself ends quietly for a reader who left
            raise
        click.echo(f"cannot write the output: {error.strerror}", err=True)
        sys.stdout = os.fdopen(
            os.open(os.devnull, os.O_WRONLY), "w"
        )  # what waits there has nowhere to go at the end either
        return 1
    return status if isinstance(status, int) else 0


def _open_what_is_closed() -> None:
    """A standard stream that was closed before we came leads nowhere from now on, else the next file or socket would
    get its number and whatever is written there."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)
