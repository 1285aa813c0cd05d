"""`cachegate replay`: what would these rules have done with the requests of a log?"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from proxy.cli.directory import directory_if_any
from proxy.cli.output import heading, percent, plural, size, span, table
from proxy.cli.reading import counted, field_option, log
from proxy.insight.picture import Line, page, svg
from proxy.insight.replay import Report, Side, replay
from proxy.observe.rule_counts import RuleCounts, rate
from proxy.settings.load import load
from proxy.settings.model import Settings

SHOWN = 15  # URLs of changed verdicts
ENOUGH = 0.95  # of the best hit ratio


@click.command("replay")
@click.argument("path", metavar="LOG")
@click.option("--rules", required=True, metavar="FILE", help="The YAML file of the settings to try.")
@click.option("--compare", metavar="FILE", help="Those to hold them against; the URLs whose verdict changes are told.")
@click.option("--plot", metavar="FILE", help="Draw the miss-ratio curve: a name that ends in .html or .svg.")
@field_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    path: str, rules: str, compare: str | None, plot: str | None, fields: tuple[str, ...], as_json: bool
) -> None:
    """Judge the requests of LOG (our access log, JSON lines, logfmt, the combined format, HAR; gzip too; - is stdin)
    by the rules in FILE, with the gateway's own code, and tell the hit ratio, what is saved, and the memory needed.
    """
    if plot is not None and not plot.endswith((".html", ".svg")):
        raise click.UsageError(f"--plot {plot}: the picture is .html or .svg, which every browser shows")
    after, before = _settings(rules), _settings(compare) if compare else None
    with log(path, fields) as seen:
        report = replay(seen, after, before)
    if not report.after.counters.requests:
        raise click.UsageError("\n\n".join(filter(None, [f"{path}: no request that can be read", _unreadable(report)])))
    text = "\n\n".join(filter(None, _parts(report, rules, compare)))
    if plot is not None:
        _draw(Path(plot), report, text, [(rules, after), *([(compare, before)] if compare and before else [])])
    click.echo(json.dumps(document(report), indent=2) if as_json else text)


def _settings(file: str) -> Settings:
    return load(
        config=file, flags={}, sets=(), environ=os.environ, cwd=directory_if_any(), require_upstream=False
    ).settings


def document(report: Report) -> dict[str, Any]:
    """The contract's form, and more beside it."""
    side = _document(report.after)
    return {
        "requests": report.after.counters.requests,
        **side,
        "changed": [
            {"url": change.url, "from": change.was, "to": change.now, "requests": change.requests}
            for change in report.changed
        ],
        "unreadable": report.unreadable,
        "unreadable_lines": [{"line": each.number, "why": each.why} for each in report.named],
        "logged_hit_ratio": report.logged,
        "compared": _document(report.before) if report.before is not None else None,
    }


def _document(side: Side) -> dict[str, Any]:
    return {
        "hit_ratio": side.counters.hit_rate,
        "bytes_saved": side.bytes_saved,
        "upstream_saved": side.upstream_saved,
        "verdicts": {verdict.value: count for verdict, count in side.counters.verdicts.items()},
        "reasons": {why.word: count for why, count in side.counters.reasons.items()},
        "rules": {name: _rule(counts) for name, counts in side.counters.rules.items()},
        "curve": [{"bytes": point.bytes, "hit_ratio": point.hit_ratio} for point in side.curve],
        "curve_sample": round(side.rate, 6),
        "held": side.held,
        "assumed": dict(side.assumed),
    }


def _rule(counts: RuleCounts) -> dict[str, Any]:
    return {
        "requests": sum(counts.verdicts.values()),
        "hits": counts.hits,
        "misses": counts.misses,
        "hit_ratio": rate(counts.hits, counts.misses),
        "bytes_saved": counts.bytes_saved,
        "upstream_saved": counts.calls_saved,
    }


# -- for people --------------------------------------------------------------------------------------------------------


def _parts(report: Report, rules: str, compare: str | None) -> Iterator[str]:
    yield _summary(report, rules, compare)
    yield _rules(report.after)
    yield _memory(report.after)
    yield _changed(report)
    yield _notes(report.after.assumed)
    yield _unreadable(report)


def _summary(report: Report, rules: str, compare: str | None) -> str:
    sides = [report.after] + ([report.before] if report.before is not None else [])
    names = [rules, compare or ""][: len(sides)]
    requests = report.after.counters.requests
    rows = [
        heading("", *names),
        ["requests", *(f"{requests:,}" for _ in sides)],
        ["hit ratio", *(percent(side.counters.hit_rate) for side in sides)],
        ["bytes saved", *(size(side.bytes_saved) for side in sides)],
        ["upstream calls saved", *(f"{side.upstream_saved:,}" for side in sides)],
        ["evictions", *(f"{side.held['evictions']:,}" for side in sides)],
    ]
    rows += [
        [f"  {verdict.value}", *(f"{side.counters.verdicts[verdict]:,}" for side in sides)]
        for verdict in report.after.counters.verdicts
        if any(side.counters.verdicts[verdict] for side in sides)
    ]
    logged = "" if report.logged is None else f"; the log itself tells a hit ratio of {percent(report.logged)}"
    return f"{table(rows)}\n\n{plural(requests, 'request')} over {span(report.seconds)}{logged}"


def _rules(side: Side) -> str:
    rows = [
        [
            name or "(no rule)",
            f"{sum(rule.verdicts.values()):,}",
            percent(rate(rule.hits, rule.misses)),
            f"{rule.calls_saved:,}",
            size(rule.bytes_saved),
        ]
        for name, rule in side.counters.rules.items()
    ]
    return table([heading("rule", "requests", "hit ratio", "calls saved", "bytes saved"), *rows]) if rows else ""


def _memory(side: Side) -> str:
    if not side.curve or not side.curve[-1].hit_ratio:
        return ""
    best = max(point.hit_ratio for point in side.curve)
    enough = next(point for point in side.curve if point.hit_ratio >= ENOUGH * best)
    rows = [[size(point.bytes), percent(point.hit_ratio), "#" * round(40 * point.hit_ratio)] for point in side.curve]
    of = "all keys" if side.rate == 1 else f"a sample of {side.rate:.2%} of the keys"
    text = f"{size(enough.bytes)} would give {percent(enough.hit_ratio)}, of {percent(best)} that are possible ({of})"
    lines = table([heading("one tier of", "hit ratio"), *(row[:2] for row in rows)]).splitlines()
    drawn = [lines[0], *(f"{line}  {row[2]}" for line, row in zip(lines[1:], rows, strict=True))]
    return "\n".join([*drawn, text])


def _changed(report: Report) -> str:
    if not report.changed:
        return ""
    rows = [[each.url, each.was, each.now, f"{each.requests:,}"] for each in report.changed[:SHOWN]]
    more = len(report.changed) - len(rows)
    text = table([heading("verdict changes", "from", "to", "requests"), *rows])
    return text + (f"\nand {more} more; --json has {len(report.changed)}" if more else "")


def _notes(assumed: Mapping[str, int]) -> str:
    if not assumed:
        return ""
    told = [f"  {text} ({plural(count, 'request')})" for text, count in sorted(assumed.items()) if count]
    return "\n".join(["assumed:", *told]) if told else ""


def _unreadable(report: Report) -> str:
    if not report.unreadable:
        return ""
    lines = [f"  {each.text}" for each in report.named]
    more = report.unreadable - len(lines)
    return "\n".join(
        [f"{counted(report.unreadable, report.named[0])}:", *lines, *([f"  and {more:,} more"] if more else [])]
    )


def _draw(file: Path, report: Report, text: str, sides: list[tuple[str, Settings]]) -> None:
    told = [report.after, *([report.before] if report.before is not None else [])]
    lines = [
        Line(name, side.curve, settings.memory.max_bytes) for (name, settings), side in zip(sides, told, strict=True)
    ]
    drawn = page(lines, "cachegate replay", click.unstyle(text)) if file.suffix == ".html" else svg(lines)
    try:
        file.write_text(drawn)
    except OSError as error:
        raise click.UsageError(f"--plot {file}: {error.strerror}") from error
