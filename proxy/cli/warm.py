"""`cachegate warm`: have the gateway fetch answers before clients ask for them, and tell how it went."""

import json
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any

import click
from yarl import URL

from proxy.cli.client import Gateway, gateway, gateway_options
from proxy.cli.explain import header_of
from proxy.cli.output import plain, plural, span
from proxy.cli.purge import pattern_on_site
from proxy.cli.reading import log
from proxy.cli.sitemap import Unfit, site_urls
from proxy.cli.sitemap_reading import reader
from proxy.insight.seen import Unreadable
from proxy.server.admin.asked_url import check_warmed, placed

TOP = 100
MOST = 100_000  # URLs of one command
AT_ONCE = 1000  # of one job
BYTES = 1 << 19  # of one job's list
POLL = 0.2  # seconds between two looks at a job

Job = dict[str, Any]


@click.command("warm")
@click.argument("urls", metavar="[URL]...", nargs=-1)
@click.option("--urls", "file", metavar="FILE", help="A file of URLs, one on a line; - is stdin.")
@click.option(
    "--from-log", "log_file", metavar="LOG", help="What was asked for by GET in a log, the most frequent first."
)
@click.option(
    "--sitemap", metavar="URL|FILE", help="A sitemap or an index of them, gzip too; a bare path: the gateway's."
)
@click.option(
    "--top", type=click.IntRange(min=1), metavar="N", help=f"What is asked for most; without a source: {TOP}."
)
@click.option("--pattern", help='What was asked for under a glob on the path, such as "*/users/*".')
@click.option("-H", "--header", "headers", metavar="'NAME: VALUE'", multiple=True, help="A header of each request.")
@click.option(
    "--scheme", type=click.Choice(["http", "https"]), help="How clients reach the site; default: as URLs say."
)
@gateway_options
def command(
    urls: tuple[str, ...],
    *,
    file: str | None,
    log_file: str | None,
    sitemap: str | None,
    top: int | None,
    pattern: str | None,
    headers: tuple[str, ...],
    scheme: str | None,
    url: str | None,
    token: str | None,
    site: str | None,
    as_json: bool,
) -> int:
    """Fetch into store what is not fresh there: URLs, or what one of the options names. URLs that were purged count.

    A bare path is meant for the host of --url, or for the one that --site names. Exit 1 when anything could not be
    stored, or the gateway ended it early to leave the upstream to clients.
    """
    sources = {"URL": urls, "--urls": file, "--from-log": log_file, "--sitemap": sitemap, "--top": top}
    sources |= {"--pattern": pattern}
    named = [name for name, value in sources.items() if value]
    if len(named) > 1:
        raise click.UsageError(f"name what to warm in one way, not by {' and '.join(named)}")
    kind = named[0] if named else "--top"
    gate = gateway(url, token, site)
    if kind in ("--top", "--pattern"):
        if headers:
            raise click.UsageError(f"{kind} asks as clients did: -H goes with URLs, logs and sitemaps")
        what: Mapping[str, object] = {"top": top or TOP}
        if pattern:
            what = {"pattern": pattern_on_site(pattern, site)}
        return _told(gate, [what], None, as_json=as_json)
    given: Iterable[str] = urls
    if file is not None:
        given = _lines(file)
    elif log_file is not None:
        given = _logged(log_file)
    elif sitemap is not None:
        given = _mapped(sitemap, gate, site)
    said = dict(header_of(line) for line in headers)
    wanted = [_placed(each, gate.url, site, scheme) for each in _first(given)]
    if not wanted:
        raise click.UsageError(f"{kind}: there is no URL in it")
    return _told(gate, list(_bodies(wanted, said)), len(wanted), as_json=as_json)


# -- what is wanted ----------------------------------------------------------------------------------------------------


def _lines(path: str) -> Iterator[str]:
    """UsageError names the first line that nobody can ask for, before anything is sent."""
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(plain(f"{path}: {getattr(error, 'strerror', None) or error}")) from error
    for number, line in enumerate(map(str.strip, text.split("\n")), start=1):
        if line and not line.startswith("#"):
            try:
                check_warmed(placed(line).target)
            except ValueError as error:
                raise click.UsageError(plain(f"{path}:{number}: {error}")) from None
            yield line


def _logged(path: str) -> list[str]:
    """The URLs of a log that were answered well, the most frequent first."""
    counted: Counter[str] = Counter()
    unreadable: list[Unreadable] = []
    more = 0
    with log(path, ()) as found:
        for each in found:
            if isinstance(each, Unreadable):
                more += 1
                unreadable += [each][: 5 - len(unreadable)]
            elif each.method == "GET" and each.status < 400 and (each.url in counted or len(counted) < MOST):
                counted[each.url] += 1
    for line in unreadable:
        click.echo(plain(f"{path}:{line.number}: {line.why}"), err=True)
    if more > len(unreadable):
        click.echo(plain(f"{path}: {plural(more, 'line')} cannot be read"), err=True)
    return [url for url, _ in counted.most_common()]


def _mapped(place: str, gate: Gateway, site: str | None) -> Sequence[str]:
    try:
        found = site_urls(place, site, reader(place, gate.url, site), MOST)
    except Unfit as error:
        raise click.UsageError(plain(str(error))) from None
    if found.elsewhere:
        click.echo(f"{place}: left out of other sites: {found.elsewhere:,}", err=True)
    if found.beyond:
        click.echo(f"{place}: left out beyond {MOST:,}: {found.beyond:,}", err=True)
    return found.urls


def _first(given: Iterable[str]) -> list[str]:
    """Each once, at most MOST."""
    unique = dict.fromkeys(given)
    if len(unique) > MOST:
        click.echo(f"left out beyond {MOST:,}: {len(unique) - MOST:,}", err=True)
    return list(islice(unique, MOST))


def _placed(url: str, gateway_url: str, site: str | None, scheme: str | None) -> str:
    if url.startswith("/"):
        if site is None and scheme is None:
            return url
        gate = URL(gateway_url)
        return f"{scheme or gate.scheme}://{site or gate.authority}{url}"
    before, mark, rest = url.partition("://")
    return f"{scheme}://{rest}" if scheme and mark and before in ("http", "https") else url


def _bodies(wanted: Sequence[str], headers: Mapping[str, str]) -> Iterator[Mapping[str, object]]:
    """Jobs of AT_ONCE URLs, or BYTES of them, at the most."""
    part: list[str] = []
    size = 0
    for url in wanted:
        cost = len(url) + sum(len(name) + len(value) + 8 for name, value in headers.items()) + 16
        if part and (len(part) == AT_ONCE or size + cost > BYTES):
            yield _body(part, headers)
            part, size = [], 0
        part.append(url)
        size += cost
    yield _body(part, headers)


def _body(urls: Sequence[str], headers: Mapping[str, str]) -> Mapping[str, object]:
    return {"requests": [{"url": url, "headers": headers} for url in urls]} if headers else {"urls": list(urls)}


# -- how it goes -------------------------------------------------------------------------------------------------------


def _told(gate: Gateway, bodies: Sequence[Mapping[str, object]], total: int | None, *, as_json: bool) -> int:
    """Run the jobs one after the other, and tell what came of them; the exit code."""
    jobs: list[Job] = []
    length = total or 0
    with gate.understood(), _ended_as_by_ctrl_c(), ExitStack() as shown:
        move: Callable[[int], None] | None = None
        for body in bodies:
            with _begun(gate, body) as job:
                if move is None:
                    length = int(job["total"]) if total is None else total
                    move = shown.enter_context(_bar(length))
                jobs.append(_followed(gate, job, move))
            if jobs[-1]["ended"] != "complete":
                break
        text = "\n".join(json.dumps(job) for job in jobs) if as_json else "\n".join(_report(jobs, length))
    click.echo(text)
    return int(any(job["failed"] or job["ended"] != "complete" for job in jobs))


@contextmanager
def _bar(length: int) -> Iterator[Callable[[int], None]]:
    """Shows how far it is; to be told of each step."""
    watched = length > 0 and sys.stderr.isatty()
    with click.progressbar(length=max(1, length), label="warming", file=sys.stderr, hidden=not watched) as bar:
        yield bar.update


@contextmanager
def _begun(gate: Gateway, body: Mapping[str, object]) -> Iterator[Job]:
    """A job as it begins. Whoever stops this command within the block stops the job, also while the answer that tells
    its id is still on its way."""
    job: Job | None = None
    try:
        with _held():
            job = gate.ask("POST", "/warm", body=body).json
        assert job is not None
        yield job
    except KeyboardInterrupt:
        if job is not None:
            with _held():  # a terminal that is closed may bring two signals
                gate.ask("DELETE", f"/warm/{job['id']}")
        raise


def _followed(gate: Gateway, job: Job, move: Callable[[int], None]) -> Job:
    """The job, once it is over."""
    page, done = f"/warm/{job['id']}", 0
    while True:
        move(int(job["done"]) - done)
        done = int(job["done"])
        if job["state"] == "done":
            return job
        time.sleep(POLL)
        job = gate.ask("GET", page).json


# -- how it is stopped -------------------------------------------------------------------------------------------------


@contextmanager
def _ended_as_by_ctrl_c() -> Iterator[None]:
    """SIGTERM and SIGHUP do what SIGINT does, whoever takes it at that moment."""

    def end(_: int, frame: FrameType | None) -> None:
        interrupt = signal.getsignal(signal.SIGINT)
        take = interrupt if callable(interrupt) else signal.default_int_handler  # a shell's background job ignores it
        take(signal.SIGINT, frame)

    with _taken(end, signal.SIGTERM, signal.SIGHUP):
        yield


@contextmanager
def _held() -> Iterator[None]:
    """Keep a signal to end until the block is over, and end then; a second one is not kept."""
    kept = False

    def keep(number: int, frame: FrameType | None) -> None:
        nonlocal kept
        if kept:
            signal.default_int_handler(number, frame)
        kept = True

    with _taken(keep, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        yield
    if kept:
        raise KeyboardInterrupt


@contextmanager
def _taken(take: Callable[[int, FrameType | None], None], *numbers: signal.Signals) -> Iterator[None]:
    """Have `take` called for these signals. What is ignored (by nohup) stays so, and only the main thread hears any."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: was for number in numbers if (was := signal.getsignal(number)) is not signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, take)
        yield
    finally:
        for number, was in before.items():
            signal.signal(number, was)


def _report(jobs: Sequence[Job], total: int) -> Iterator[str]:
    done, ok, skipped, failed = (sum(job[name] for job in jobs) for name in ("done", "ok", "skipped", "failed"))
    seconds = sum(job["seconds"] for job in jobs)
    took = span(seconds) if seconds >= 10 else f"{seconds:.1f}s"
    yield f"warmed {plural(total, 'URL')} in {took}: {ok:,} stored, {skipped:,} fresh already, {failed:,} failed"
    failures = [failure for job in jobs for failure in job["failures"]]
    for failure in failures:
        status = f" (status {failure['status']})" if failure["status"] else ""
        yield f"  {plain(failure['url'])}: {failure['reason']}{status}"
    if failed > len(failures):
        yield f"  and {failed - len(failures):,} more"
    if (why := jobs[-1]["ended"]) != "complete":
        yield f"ended early, {why}: {total - done:,} were not asked for"
