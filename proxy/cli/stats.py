"""`cachegate stats`: what a running gateway counts, for a person or as the JSON it came in."""

import json
from typing import Any

import click

from proxy.cli.client import gateway, gateway_options
from proxy.cli.output import heading, percent, plural, size, span, table

Stats = dict[str, Any]
SHOWN_REASONS = 15


@click.command("stats")
@gateway_options
def command(url: str | None, token: str | None, site: str | None, as_json: bool) -> None:
    """Show what a running gateway counts: requests by verdict, tier, rule and reason."""
    gate = gateway(url, token, site)
    stats = gate.ask("GET", "/stats").json
    with gate.understood():
        text = "\n\n".join(filter(None, sections(stats)))
    click.echo(json.dumps(stats, indent=2) if as_json else text)


def sections(stats: Stats) -> list[str]:
    """The parts of the report; what has nothing to tell is empty."""
    return [_summary(stats), _tiers(stats), _verdicts(stats), _rules(stats), _reasons(stats)]


def _summary(stats: Stats) -> str:
    time, upstream = stats["responseTime"], stats["upstream"]
    quantiles = ", ".join(f"{name} {time[name]:.1f}" for name in ("p50", "p95", "p99") if name in time)
    from_store = f"{percent(stats['hitRate'])} from store, {stats['inFlight']} in flight"
    calls = f"{plural(upstream['requests'], 'request')}, {plural(upstream['errors'], 'error')}"
    rows = [
        ["gateway", f"cachegate {stats['version']}, up {span(stats['uptime'])}, {plural(stats['workers'], 'worker')}"],
        ["requests", f"{stats['requests']:,}, {from_store}"],
        ["answered in", f"{time['avg']:.1f} ms on average ({quantiles})"],
        ["clients", plural(stats["activeSessions"], "open connection")],
        ["upstream", f"{calls}, {stats['coalesced']:,} spared by coalescing, breaker {upstream['breaker']}"],
    ]
    return table(rows, numeric=False)


def _tiers(stats: Stats) -> str:
    memory, redis, file = stats["memory"], stats["redis"], stats["file"]
    rows = [heading("tier", "entries", "bytes", "hits", "misses", "evicted")]
    rows.append(_tier("memory", memory["size"], memory["bytes"], memory["totalHits"], memory["totalMisses"], memory))
    if redis["enabled"]:
        rows.append(_tier("redis", redis["size"], redis.get("memoryUsage", 0), redis["hits"], redis["misses"], redis))
    rows.append(_tier("file", file["size"], file["bytes"], file["hits"], file["misses"], file))
    return table(rows)


def _tier(name: str, entries: int, held: int, hits: int, misses: int, more: Stats) -> list[str]:
    evicted = more.get("evictions")
    return [name, f"{entries:,}", size(held), f"{hits:,}", f"{misses:,}", "-" if evicted is None else f"{evicted:,}"]


def _verdicts(stats: Stats) -> str:
    requests = stats["requests"]
    counted = [(verdict, number) for verdict, number in stats["verdicts"].items() if number]
    rows = [[verdict, f"{number:,}", percent(number / requests)] for verdict, number in counted]
    return table([heading("verdict", "requests", "share"), *rows]) if rows else ""


def _rules(stats: Stats) -> str:
    rows = [
        [
            name or "(no rule)",
            f"{rule['hits']:,}",
            f"{rule['misses']:,}",
            f"{rule['callsSaved']:,}",
            size(rule["bytesSaved"]),
            span(rule["secondsSaved"]),
        ]
        for name, rule in stats["rules"].items()
    ]
    return table([heading("rule", "hits", "misses", "calls saved", "bytes saved", "time saved"), *rows]) if rows else ""


def _reasons(stats: Stats) -> str:
    most = sorted(stats["reasons"].items(), key=lambda item: -item[1])[:SHOWN_REASONS]
    rows = [[word, f"{number:,}"] for word, number in most if number]
    return table([heading("reason", "requests"), *rows]) if rows else ""
