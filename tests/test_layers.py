"""The order of floors is law: imports go down only, and the judgement knows no clock, no I/O and no framework."""

import ast
from pathlib import Path

from tests.support.parsed import parsed

ROOT = Path(__file__).parent.parent / "proxy"
# Bottom to top. A line is one rank: a name may import what stands above it here, and nothing else of ours.
ORDER = """
reasons version importing fixed hooks
errors
outcome policy.memo
names
message
stored_fields
entry
policy.globs
policy.paths
rules
policy.fields policy.json_form
policy.cache_control policy.graphql_form
policy.keys policy.freshness policy.conditional policy.ranges policy.vary policy.identity policy.trace_context
policy.tags policy.variants
policy.reuse policy.storing policy.forwarding policy.cache_status policy.invalidating
policy.renewal
policy.presenting policy.parts policy.pricing
policy
tasks alarm eventloop
deadline flight recording_reader
recording
redis.address
settings.problems settings.expand
settings.reader settings.dotenv settings.values settings.wording
settings.addresses
settings.sections
settings.rule_model
settings.model
settings.shape settings.compile
settings.acting
settings.spellings settings.checks
settings.sources
settings.load
settings.show
settings
observe.latency observe.logs observe.sizes observe.resident observe.grouping observe.heavy observe.rule_counts
observe.groups observe.tracing
observe.counters observe.events
observe.span
observe.history
observe.minutes_file
observe.figures
observe.merging observe.collector observe.otlp_figures
observe.otlp
observe
limits.window limits.client
limits.table limits.fields
limits.near
limits
redis.errors redis.keys redis.breaker redis.budget
redis.dial redis.lag
redis.reach redis.wire redis.reads
redis.pipelines
redis.server
redis.census redis.trial redis.hot redis.minutes redis.lease_lua
redis.waking
redis.lease
redis
limits.redis_lua
limits.limiter
upstream.protocol upstream.window
upstream.attempt upstream.wire upstream.tls upstream.breaker upstream.retry_budget
upstream.connection upstream.fellows
upstream.dial upstream.exchange upstream.bulkhead
upstream.client upstream.admission
upstream.tunnel upstream.replicas
upstream.health
upstream.pool
upstream.service
upstream.routes
upstream.traced
upstream
invalidation.records
invalidation.purge_requests
invalidation.journal invalidation.course
invalidation.ring invalidation.tie invalidation.disk
invalidation.chain invalidation.lines invalidation.stream_lua
invalidation.local
invalidation.stream
invalidation.link invalidation.spread
invalidation.sending
invalidation.shared
invalidation.worker_log
invalidation.parent_log
invalidation.purges
invalidation.traced
invalidation
store
store.codec store.eviction
store.packing
store.redis_record store.redis_lua store.redis_walk
store.memory store.spool store.guarded store.backlog
store.redis_again
store.redis
store.sheet store.file_read store.file_warm store.file_write
store.parts_held
store.parts store.near
store.near_file store.near_redis
store.file_shared
store.file
store.file_keeper
store.tiered
insight.seen insight.curve insight.bodiless insight.bounds insight.search
insight.logs_fields insight.recalled insight.picture
insight.logs_combined insight.logs_har
insight.logs_json insight.simulated insight.samples
insight.logs_logfmt
insight.logs_read insight.replay insight.samples_log insight.suggesting insight.shadow
insight insight.inventory insight.rule_tests insight.nearest
replying
limiting
landing passes
fetching
posting
flying
splicing gathering
completing
ranging
passing
pipeline instant
traced
insight.explain_tiers
insight.explained
insight.explain_advice insight.explain_asking
insight.explain
division
warming_jobs
warming_one warming_guard warming_hot
warming_places
warming
server.plain
server.keeping server.peers server.replies server.interim server.uploads server.access_log server.tunnel
server.requests
server.heads server.ready
server.shapes server.answers server.again
server.front server.known_peer
server.fastlane
server.traced
server.boundary server.methods
server.http1
server.connections
server.gate
server.listening server.watching server.accepting
server.admin.rights server.admin.token server.admin.asked_url
server.admin.pages
server.admin.entries server.admin.events server.admin.explain server.admin.port server.admin.suggest
server.admin
server.lifecycle server.bus
server.seat server.spreading
server.workers
server.member
server.desk
server
tracing
configuration everywhere
sharing unsent
remembering
building building_services
obstacles place
tiers
ending
story shedding telling noting
measuring
doors operating
gateway
wiring
embed_keys embed_values
embed
cli.output cli.directory
cli.demo cli.client cli.reading cli.keys
cli.trend cli.looking
cli.view
cli
"""
RANK = {name: rank for rank, line in enumerate(ORDER.split("\n")) for name in line.split()}
JUDGEMENT = ("rules", "policy", "reasons", "errors", "outcome", "message", "entry")
FORBIDDEN = {
    "asyncio",
    "aiohttp",
    "redis",
    "aiofiles",
    "time",
    "datetime",
    "os",
    "logging",
    "random",
    "socket",
    "pathlib",
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def rank(name: str) -> int:
    while name not in RANK:
        assert "." in name, f"{name} has no floor: add it to ORDER in tests/test_layers.py"
        name = name.rpartition(".")[0]
    return RANK[name]


def imports(path: Path) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                own = ROOT.parent / (full.replace(".", "/") + ".py")
                found.append((node.lineno, full if own.exists() else str(node.module)))
    return found


MODULES = [p for p in ROOT.rglob("*.py") if module_name(p) not in ("", "__main__")]


def test_imports_only_go_down() -> None:
    wrong = []
    for path in MODULES:
        name = module_name(path)
        for line, target in imports(path):
            if target.startswith("proxy.") and (own := target.removeprefix("proxy.")) != name:
                same_package = rank(own) == rank(name) and own.partition(".")[0] == name.partition(".")[0]
                if rank(own) > rank(name) or (rank(own) == rank(name) and not (same_package and name not in RANK)):
                    wrong.append(f"{path}:{line}: {name} may not import {own}")
    assert not wrong, "\n".join(wrong)


def test_judgement_knows_no_clock_and_no_io() -> None:
    wrong = [
        f"{path}:{line}: {target}"
        for path in MODULES
        if module_name(path).partition(".")[0] in JUDGEMENT
        for line, target in imports(path)
        if target.partition(".")[0] in FORBIDDEN
    ]
    assert not wrong, "\n".join(wrong)


def test_judgement_awaits_nothing() -> None:
    wrong = [
        f"{path}:{node.lineno}"
        for path in MODULES
        if module_name(path).partition(".")[0] in ("rules", "policy")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Await | ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith)
    ]
    assert not wrong, "\n".join(wrong)
