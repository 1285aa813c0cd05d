"""What much of anything costs: rules, entries, connections."""

from collections.abc import Iterator
from contextlib import ExitStack, closing

from bench.arena import Arena, gateway
from bench.client import Connection, asked, get
from bench.figures import Figure, Line, at_most
from bench.heads import HOST, each_path, varied
from bench.load import Load
from bench.pacer import each_once
from bench.peers.cachegate import MEMORY, NAME, ROOMY, stats
from bench.programs import Running

FEW, MANY = 10, 1_000


def rules(arena: Arena) -> Iterator[Line]:
    """The last rule is the one that takes the requests: all before it are looked at, or known not to fit."""
    few = f"{FEW} rules"
    with ExitStack() as stack:
        contenders = [
            arena.enter(stack, name, gateway({**MEMORY, "rules": _rules(number)}), Load(varied()), each_path())
            for name, number in ((NAME, MANY), (few, FEW))
        ]
        figures = arena.contest(contenders)
    yield Line("rules", f"memory hit with {MANY:,} rules", "µs", figures, (at_most(1.2, few),))


def _rules(number: int) -> list[dict[str, object]]:
    others: list[dict[str, object]] = [
        {"name": f"other-{n}", "pattern": f"/other/{n}/*/reports/*", "ttl": 60} for n in range(number - 1)
    ]
    return [*others, {"name": "orders", "pattern": "*/users/*/orders", "ttl": 3600}]


def entries(arena: Arena) -> Iterator[Line]:
    """The same 1,000 paths are asked for, among 1,000 entries and among many; then what one of the many holds."""
    many, few = arena.plan.entries, "1,000 entries"
    with ExitStack() as stack:
        settings = {**ROOMY, **MEMORY}
        full = arena.enter(stack, NAME, gateway(settings), Load(varied()), each_path())
        small = arena.enter(stack, few, gateway(settings), Load(varied()), each_path())
        assert full.server is not None
        memory = _grown(full.server, many)
        figures = arena.contest([full, small])
        held = stats(full.server.port)["memory"]["size"]
    note = "" if held >= many else f"only {held:,} entries were held"
    title = f"memory hit among {many:,} entries"
    yield Line("entries", title, "µs", figures, (at_most(1.3, few),), note)
    beside = "growth of the process for each entry, less the body of 1 KB"
    yield Line("entries", f"memory per entry beyond its bytes, at {many:,}", "KB", (memory,), (at_most(1.0),), beside)


def _grown(server: Running, number: int) -> Figure:
    """KB that each entry takes beside its body."""
    before = server.memory()
    told = each_once(server.port, (get(f"/1k/entries/{n}", host=HOST) for n in range(number)))
    size = len(asked(server.port, [get("/1k/entries/0", host=HOST)])[0].body)
    return Figure(NAME, ((server.memory() - before) / number / 1000 - size / 1000,), told.problem)


def connections(arena: Arena) -> Iterator[Line]:
    """So many clients that keep their connections, each of which asks twice, with all others open meanwhile."""
    patient = {**MEMORY, "timeouts": {"keep_alive": 600}}  # a busy machine takes longer than 30 s to open them all
    for number in sorted({min(each, arena.plan.connections) for each in (100, 1_000, arena.plan.connections)}):
        with ExitStack() as stack:
            us = arena.enter(stack, NAME, gateway(patient), Load(varied()), each_path())
            assert us.server is not None
            errors, memory = _held(us.server, number)
        title = f"{number:,} open connections, one worker: "
        yield Line("connections", f"{title}errors", "", (Figure(NAME, (errors,)),), (at_most(0),))
        yield Line("connections", f"{title}memory of each", "KB", (Figure(NAME, (memory,)),))


def _held(server: Running, number: int) -> tuple[float, float]:
    """How many requests failed, and KB of the server for each connection."""
    heads = varied()
    before = server.memory()
    errors, held = 0, []
    with ExitStack() as stack:
        for n in range(number):
            try:
                held.append(connection := stack.enter_context(closing(Connection(server.port))))
                errors += connection.ask(heads[n % len(heads)]).status != 200
            except OSError:
                errors += 1
        memory = server.memory() - before
        for n, connection in enumerate(held):
            try:
                errors += connection.ask(heads[-n % len(heads)]).status != 200
            except OSError:
                errors += 1
    return float(errors), memory / number / 1000
