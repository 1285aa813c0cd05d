"""`cachegate monitor`: a running gateway on the terminal, live, until q or Ctrl-C."""

import json
import sys
import time
from dataclasses import replace
from functools import partial
from typing import Any

import click

from proxy.cli.client import PROMPT, Gateway, Unreachable, gateway, gateway_options
from proxy.cli.keys import Keys
from proxy.cli.looking import Looking
from proxy.cli.trend import Trend
from proxy.importing import imported

KEPT = 240  # looks of which the curves are made
LATE = 2.0  # seconds after which it is said that no answer has come
SOON = 0.02  # seconds between two looks for the first answer
NO_TERMINAL = "the live view wants a terminal; --json writes lines for programs"
NO_RICH = "the live view needs `rich`: pip install rich (or --json, which needs nothing)"


@click.command("monitor")
@gateway_options
@click.option(
    "--every", type=click.FloatRange(0.2, 3600), default=2.0, show_default=True, help="Seconds between looks."
)
@click.option("--ticks", type=click.IntRange(min=1), help="End after so many looks; none: when told to.")
def command(
    url: str | None, token: str | None, site: str | None, as_json: bool, every: float, ticks: int | None
) -> None:
    """Watch a running gateway: hit ratios, requests, latency, Redis, breakers, what misses cost. Ends with q or Ctrl-C.

    With --json a line for each look: the statistics, or why there are none.
    """
    gate = replace(gateway(url, token, site), patience=PROMPT)
    try:
        if as_json:
            _stream(gate, every, ticks)
        else:
            _show(gate, every, ticks)
    except KeyboardInterrupt:
        pass  # as good an end as any


def _stream(gate: Gateway, every: float, ticks: int | None) -> None:
    done = 0
    while ticks is None or done < ticks:
        if done:
            time.sleep(every)
        stats, trouble = look(gate)
        click.echo(json.dumps(stats if stats is not None else {"error": "unreachable", "message": trouble}))
        done += 1


def _show(gate: Gateway, every: float, ticks: int | None) -> None:
    if not sys.stdout.isatty():
        raise click.UsageError(NO_TERMINAL)
    try:
        view = imported("proxy.cli.view")
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] != "rich":
            raise
        raise click.UsageError(NO_RICH) from error
    trend, trouble, done, due = Trend(KEPT), "", 0, 0.0
    looking = Looking(partial(look, gate))
    with Keys() as keys, view.screen() as screen:
        while ticks is None or done < ticks:
            now = time.monotonic()
            if looking.seconds is None and now >= due:
                looking.begin()
                due = now + every
            if (seen := looking.taken()) is not None:
                stats, trouble = seen
                trend.add(now, stats)
                done += 1
            late = looking.seconds or 0.0
            screen.show(gate.url, trend, f"no answer for {late:.0f} s" if late > LATE else trouble, every)
            if keys.pressed(view.REDRAW if done else SOON) in ("q", "Q"):
                return


def look(gate: Gateway) -> tuple[dict[str, Any] | None, str]:
    """The statistics, or what is in the way: a gateway that restarts is waited for."""
    try:
        answer: dict[str, Any] = gate.ask("GET", "/stats").json
    except Unreachable as error:
        return None, error.message
    return answer, ""
