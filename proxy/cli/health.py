"""`cachegate health`: exit 0 when a running gateway is well, 1 when it is degraded or out of reach."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import click

from proxy.cli.client import PROMPT, Gateway, Unreachable, gateway, gateway_options
from proxy.cli.output import size, span, table

State = Literal["ok", "off", "bad"]
COLOURS: dict[State, str] = {"ok": "green", "off": "yellow", "bad": "red"}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. `off` is a choice of the settings and no illness."""

    name: str
    state: State
    detail: str


@click.command("health")
@click.option("--live", is_flag=True, help="Only whether it answers, as a container's health check asks.")
@gateway_options
def command(url: str | None, token: str | None, site: str | None, as_json: bool, live: bool) -> int:
    """Say whether a running gateway is well: exit 0 healthy, 1 degraded or unreachable."""
    gate = replace(gateway(url, token, site), patience=PROMPT)
    try:
        with gate.understood():
            checks = (lives(gate),) if live else tuple(look(gate))
        status = "degraded" if any(check.state == "bad" for check in checks) else "healthy"
    except Unreachable as error:
        checks = (Check("gateway", "bad", error.message),)
        status = "unreachable"
    if as_json:
        click.echo(
            json.dumps({"status": status, "url": gate.url, "checks": [asdict(check) for check in checks]}, indent=2)
        )
    else:
        rows = [[click.style(check.state, fg=COLOURS[check.state]), check.name, check.detail] for check in checks]
        click.echo(f"{status}: {gate.url}\n{table(rows, indent=2, numeric=False)}")
    return 0 if status == "healthy" else 1


def lives(running: Gateway) -> Check:
    """That it answers at all. Whoever restarts it for more, Redis away or an origin that fails, makes that worse."""
    running.ask("GET", "/live")
    return Check("gateway", "ok", "lives")


def look(running: Gateway) -> Iterator[Check]:
    """What the gateway's own pages say of its parts."""
    ready = running.ask("GET", "/ready", allowed=(503,))
    stats = running.ask("GET", "/stats").json
    if ready.status == 200:
        yield Check("gateway", "ok", f"cachegate {stats['version']}, up {span(stats['uptime'])}")
    else:
        yield Check("gateway", "bad", str(ready.json.get("status", "not ready")))
    yield _upstream(stats["upstream"])
    yield _tier("memory", stats["memory"])
    if stats["process"]["memoryLimit"]:
        yield _process(stats["process"])
    yield _redis(stats["redis"])
    yield _tier("file", stats["file"])


def _upstream(upstream: dict[str, Any]) -> Check:
    cause = f" ({upstream['cause']})" if "cause" in upstream else ""
    detail = f"breaker {upstream['breaker']}{cause}, {upstream['errors']:,} errors in {upstream['requests']:,} requests"
    down = [f"{each['name']} ({each['upstream']})" for each in upstream.get("replicas", ()) if not each["up"]]
    detail += f"; down: {', '.join(down)}" if down else ""
    return Check("upstream", "bad" if down or upstream["breaker"] != "closed" else "ok", detail)


def _tier(name: str, tier: dict[str, Any]) -> Check:
    if "off" in tier:
        return Check(name, "bad", f"off: {tier['off']}")
    if not tier["maxBytes"]:
        return Check(name, "off", "not enabled")
    return Check(name, "ok", f"{tier['size']:,} entries, {size(tier['bytes'])} of {size(tier['maxBytes'])}")


def _process(process: dict[str, Any]) -> Check:
    used = f"{size(process['memory'])} of {size(process['memoryLimit'])}"
    if process["pressure"] == "calm":
        return Check("process", "ok", used)
    return Check("process", "bad", f"{process['pressure']}: {used}, {process['refused']:,} calls were withheld")


def _redis(redis: dict[str, Any]) -> Check:
    if not redis["enabled"]:
        return Check("redis", "off", "not enabled: this instance keeps its answers to itself")
    if not redis["connected"]:
        why = f": {redis['reason']}" if redis.get("reason") else ""
        return Check("redis", "bad", f"fallback mode: not connected, serving from memory and file{why}")
    if redis.get("state") == "degraded":
        return Check("redis", "bad", f"degraded, takes no writes: {redis['reason']}")
    return Check("redis", "ok", f"{redis['keys']:,} keys, {redis['memory']}, {redis['latency']} ms")
