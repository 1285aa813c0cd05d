"""`cachegate stats`: what a running gateway counts, for a person or as the JSON it came in."""

import json
from typing import Any

import click

from proxy.cli.client import gateway, gateway_options
from proxy.cli.output import heading, percent, plain, plural, size, span, spent, table
from proxy.cli.trend import sparkline

Stats = dict[str, Any]
SHOWN_REASONS = 15
SHOWN_URLS = 10
SHOWN_GROUPS = 20
_CURVE = 60  # bars


@click.command("stats")
@gateway_options
@click.option("--window", type=click.Choice(["1h", "24h"]), help="What happened in the last hour or day, by group too.")
def command(url: str | None, token: str | None, site: str | None, as_json: bool, window: str | None) -> None:
    """Show what a running gateway counts: requests by verdict, tier, rule and reason, and with its token what is asked
    for most and what misses cost most."""
    gate = gateway(url, token, site)
    stats = gate.ask("GET", "/stats", query={"window": window} if window else None).json
    with gate.understood():
        shown = sections(stats) if window is None else past(stats["window"])
        if window is None and "topMisses" in stats:  # only who has the token is told names
            shown += [_entries(gate.ask("GET", "/entries", query={"limit": str(SHOWN_URLS)}).json), _lost(stats)]
        text = "\n\n".join(filter(None, shown))
    click.echo(json.dumps(stats, indent=2) if as_json else text)


def sections(stats: Stats) -> list[str]:
    """The parts of the report; what has nothing to tell is empty."""
    return [_summary(stats), _tiers(stats), _verdicts(stats), _rules(stats), _shadows(stats), _reasons(stats)]


def past(window: Stats) -> list[str]:
    """The parts of the report on an hour or a day."""
    return [_course(window), _looked_up(window), _rules(window), _groups(window), _reasons(window)]


def _course(window: Stats) -> str:
    """All together, and a curve of it: a bar is as many minutes as are needed for all to have one."""
    series = {point["at"]: point["hits"] + point["misses"] + point["bypassed"] for point in window["series"]}
    width = max(1, window["minutes"] // _CURVE)
    end = max(series) + 60
    starts = range(end - window["minutes"] * 60, end, width * 60)
    bars = [float(sum(series.get(at, 0) for at in range(start, start + width * 60, 60))) for start in starts]
    rows = [
        [f"last {window['name']}", f"{window['requests']:,} requests, {percent(window['hitRate'])} from store"],
        ["counted by", "all instances over this Redis" if window["shared"] else "this instance"],
        ["known for", span(end - window["since"])],
        ["requests", f"{sparkline(bars, _CURVE)}  {plural(width, 'minute')} a bar"],
    ]
    return table(rows, numeric=False)


def _looked_up(window: Stats) -> str:
    tiers = window["tiers"].items()
    rows = [[name, f"{seen['hits']:,}", f"{seen['misses']:,}", percent(seen["hitRate"])] for name, seen in tiers]
    return table([heading("tier", "hits", "misses", "hit ratio"), *rows]) if rows else ""


def _groups(window: Stats) -> str:
    """Those that took most upstream time, and why they were missed."""
    groups = window.get("groups", [])[:SHOWN_GROUPS]
    rows = [
        [
            plain(group["group"]) or "(errors)",
            plain(group["rule"]) or "(no rule)",
            f"{group['hits']:,}",
            f"{group['misses']:,}",
            spent(group["upstreamSeconds"]),
            ", ".join(f"{word} {number:,}" for word, number in list(group["reasons"].items())[:3]),
        ]
        for group in groups
    ]
    return table([heading("group", "rule", "hits", "misses", "upstream", "missed for"), *rows]) if rows else ""


def _entries(told: Stats) -> str:
    rows = [
        [plain(entry["url"]), f"{entry['hits']:,}", span(entry["age"]), size(entry["size"])]
        for entry in told["entries"]
    ]
    return table([heading("asked for most", "hits", "age", "bytes"), *rows]) if rows else ""


def _lost(stats: Stats) -> str:
    rows = [[plain(miss["url"]), spent(miss["seconds"])] for miss in stats["topMisses"][:SHOWN_URLS]]
    return table([heading("missed at most upstream time", "time"), *rows]) if rows else ""


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
            spent(rule["secondsSaved"]),
            f"{rule['moneySaved']:,.2f}",
        ]
        for name, rule in stats["rules"].items()
    ]
    return (
        table([heading("rule", "hits", "misses", "calls saved", "bytes saved", "time saved", "money"), *rows])
        if rows
        else ""
    )


def _shadows(stats: Stats) -> str:
    rows = [
        [name, f"{rule['wouldHits']:,}", f"{rule['compared']:,}", f"{rule['wrong']:,}", percent(rule["wrongRate"])]
        for name, rule in stats["rules"].items()
        if "wouldHits" in rule
    ]
    return table([heading("rule in shadow", "would hit", "compared", "wrong", "wrong rate"), *rows]) if rows else ""


def _reasons(stats: Stats) -> str:
    most = sorted(stats["reasons"].items(), key=lambda item: -item[1])[:SHOWN_REASONS]
    rows = [[word, f"{number:,}"] for word, number in most if number]
    return table([heading("reason", "requests"), *rows]) if rows else ""
