"""The settings by section: attribute path and YAML path are the same, seconds and bytes are plain numbers.

A field's description is the one line that `docs/configuration.md`, `--help` and the example file share.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from proxy.eventloop import EventLoop
from proxy.rules import CREDENTIAL_HEADERS
from proxy.settings.addresses import (
    AddedFieldName,
    CollectorUrl,
    FieldNames,
    FieldValue,
    KeyPrefix,
    ListeningHost,
    Methods,
    Networks,
    PathPrefix,
    Pseudonym,
    RedisHost,
    RedisUrl,
    Token,
    ToldHeaders,
    UpstreamUrls,
)
from proxy.settings.values import (
    Count,
    Eviction,
    FilePath,
    Flag,
    LogLevel,
    Password,
    Port,
    Positive,
    Seconds,
    Share,
    Size,
    SomeSeconds,
    Ttl,
    Username,
    Visible,
    Word,
    WordList,
)

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


class Section(BaseModel):
    """What every part of the settings is: frozen, without unknown names, and silent about its input in errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, protected_namespaces=())


class HealthCheck(Section):
    """How replicas are asked whether they are well."""

    path: Visible = Field(description="path that is asked for; a 2xx or 3xx is well")
    interval: SomeSeconds = Field(default=10.0, description="seconds between two checks of a replica")
    healthy: Positive = Field(default=2, description="good checks in a row that bring a replica back")
    unhealthy: Positive = Field(default=3, description="bad checks in a row that take a replica out")


class Breaker(Section):
    """When calls to a failing upstream are withheld."""

    error_rate: Share = Field(default=0.5, description="share of failed calls in the window that opens it")
    min_requests: Positive = Field(default=20, description="calls in the window before the share counts")
    window: SomeSeconds = Field(default=10.0, description="seconds that are looked back")
    consecutive: Positive = Field(default=5, description="failures in a row that open it")
    open_for: SomeSeconds = Field(default=5.0, description="seconds until the first probe; doubles while probes fail")
    max_open: SomeSeconds = Field(default=60.0, description="seconds that the doubling stops at")
    slow_call_duration: SomeSeconds | None = Field(
        default=None, description="seconds to the first byte past which a call is slow; none: no call is"
    )
    slow_call_rate: Share = Field(default=0.5, description="share of slow calls in the window that opens it")


class UpstreamSettings(Section):
    """One service behind the gateway."""

    url: UpstreamUrls = Field(default=(), description="address of the API, base path included; several are replicas")
    id: Visible | None = Field(
        default=None, description="its name in every key; none: authority and path of the first URL"
    )
    headers: dict[AddedFieldName, FieldValue] = Field(
        default={}, description="headers added to what is sent, an API key say"
    )
    strip_prefix: PathPrefix | None = Field(default=None, description="path prefix that is taken off before sending")
    preserve_host: Flag = Field(
        default=False, description="send the client's Host instead of the upstream's own authority"
    )
    forward_client_ip: Flag = Field(
        default=True, description="tell the client's address in X-Forwarded-For and Forwarded"
    )
    health_check: HealthCheck | None = Field(default=None, description="active checks of the replicas; none: no checks")
    ca_file: FilePath | None = Field(
        default=None, description="PEM file of the authorities to trust; none: the system's store"
    )
    verify_tls: Flag = Field(default=True, description="verify the upstream's certificate")
    client_cert: FilePath | None = Field(default=None, description="PEM certificate shown to the upstream")
    client_key: FilePath | None = Field(default=None, description="its key; none: in the certificate's file")
    connect_timeout: SomeSeconds = Field(default=3.0, description="seconds to connect, TLS included")
    first_byte_timeout: SomeSeconds = Field(default=30.0, description="seconds to the first byte of the answer")
    read_timeout: SomeSeconds = Field(default=30.0, description="seconds between two reads of the answer")
    total_timeout: SomeSeconds = Field(default=300.0, description="seconds for the whole answer; off for streams")
    max_connections: Positive = Field(default=100, description="connections held open")
    max_in_flight: Positive = Field(default=64, description="calls at the same time")
    max_queue: Count = Field(default=128, description="calls that may wait for one of them; past it 503")
    retries: Count = Field(default=1, description="further tries of an idempotent call that brought no byte")
    retry_budget: Share = Field(default=0.2, description="retries at most, as a share of the calls (3 are always free)")
    breaker: Breaker = Field(default=Breaker(), description="when calls are withheld")


class ListenSettings(Section):
    """The door to the clients."""

    host: ListeningHost = Field(default="127.0.0.1", description="address to listen on")
    port: Port = Field(default=4000, description="port to listen on; 0 lets the system choose")
    workers: Positive = Field(default=1, description="processes; limits and budgets are divided among them")
    tls_cert: FilePath | None = Field(default=None, description="PEM certificate chain; none: plain HTTP")
    tls_key: FilePath | None = Field(default=None, description="PEM key of the certificate")
    trusted_proxies: Networks = Field(default=(), description="networks whose forwarding headers are believed")
    name: Pseudonym | None = Field(default=None, description="our name in Via; none: cachegate- and four hex digits")
    drain: Seconds = Field(default=30.0, description="seconds that requests may take to end after SIGTERM")
    drain_delay: Seconds = Field(default=1.0, description="seconds that connections are still taken after SIGTERM")
    fast_lane: Flag = Field(default=True, description="answer hits at once, straight from the socket's bytes")
    loop: EventLoop = Field(default="uvloop", description="event loop of the process: uvloop, or Python's own: asyncio")


class AdminSettings(Section):
    """The gateway's own pages."""

    prefix: PathPrefix = Field(default="/cache", description="path under which the admin pages stand")
    token: Token | None = Field(
        default=None, description="bearer token; none given: made at start; `none`: trust loopback"
    )
    token_file: FilePath = Field(
        default=Path(".cachegate/admin.token"), description="where a token made at start is kept"
    )
    port: Port | None = Field(default=None, description="port of its own for the admin pages; none: the traffic's")
    host: ListeningHost = Field(default="127.0.0.1", description="address of that port")
    metrics: Literal["token", "open"] = Field(
        default="token", description="`open`: the metrics page for all, on admin.port"
    )
    receipts: Seconds = Field(default=3600.0, description="seconds that a purge's receipt is kept")

    @property
    def trusts_loopback(self) -> bool:
        """Whether a direct loopback peer may do everything without a token (`admin.token: none`)."""
        return self.token is not None and self.token.get_secret_value() == "none"


class CacheSettings(Section):
    """What holds for every rule."""

    default_ttl: Ttl | None = Field(
        default=None, description="ttl of rules without one, and of a last rule `default` for all"
    )
    methods: Methods = Field(
        default=("GET", "HEAD"), description="methods of rules that name none; GET and HEAD go together"
    )
    unmatched: Literal["origin", "bypass"] = Field(
        default="origin", description="traffic without a rule: RFC 9111, or never"
    )
    keep: Seconds = Field(default=3600.0, description="seconds beyond its life that an entry with a validator is kept")
    stale_if_error: Seconds = Field(
        default=300.0, description="seconds past its life that an answer may stand in for an error"
    )
    heuristic: Flag = Field(default=True, description="10% of the age by Last-Modified, where the origin says nothing")
    client_directives: Literal["honour", "ignore", "all"] = Field(
        default="honour",
        description="request Cache-Control; honour: reloads only from trusted clients; all: from anyone",
    )
    store_set_cookie: Flag = Field(default=False, description="store a `public` answer that sets cookies")
    accept_encoding: Literal["normalise", "preserve"] = Field(
        default="normalise", description="key and send one coding by the client's preference, or the header as it came"
    )
    credential_headers: FieldNames = Field(
        default=CREDENTIAL_HEADERS, description="headers that count as Authorization does"
    )
    cleanup_interval: SomeSeconds = Field(default=60.0, description="seconds between two sweeps of what has ended")
    warmup: Flag = Field(default=False, description="fill memory from the far tiers before it is ready")


class MemorySettings(Section):
    """The nearest tier."""

    max_entries: Count = Field(default=20_000, description="entries per instance; 0: no memory tier")
    max_bytes: Size = Field(default=256 * MIB, description="bytes per instance; 0: no memory tier")
    max_object: Size = Field(default=1 * MIB, description="largest answer it takes")
    ttl: Seconds | None = Field(
        default=None, description="seconds that a copy in memory is trusted at most; none: its life"
    )
    eviction: Eviction = Field(default="s3fifo", description="what leaves when it is full: s3fifo, lru or fifo")
    limit: Size = Field(
        default=0, description="bytes that all workers may take; at 95% memory shrinks, past it 503; 0: no bound"
    )

    @property
    def on(self) -> bool:
        return self.max_entries > 0 and self.max_bytes > 0


class FileSettings(Section):
    """The tier on disk."""

    enabled: Flag = Field(default=True, description="keep answers on disk")
    dir: FilePath = Field(default=Path(".cachegate"), description="its directory, for one gateway alone")
    max_bytes: Size = Field(
        default=1 * GIB, description="bytes of what is stored; up to a quarter more while answers are being written"
    )
    max_object: Size = Field(default=64 * MIB, description="largest answer it takes")
    eviction: Eviction = Field(default="lru", description="what leaves when it is full: s3fifo, lru or fifo")
    store: str | None = Field(default=None, description="package.module:Class of a store of your own in its place")
    options: dict[str, Any] = Field(default={}, description="keyword arguments for that store", repr=False)

    @property
    def on(self) -> bool:
        return self.enabled and self.max_bytes > 0


class RedisSettings(Section):
    """The tier that instances share."""

    enabled: Flag = Field(default=False, description="auto (the default): on when any other redis setting is given")
    url: RedisUrl | None = Field(
        default=None, description="redis:// rediss:// unix:// redis+sentinel:// redis+cluster://"
    )
    mode: Literal["auto", "single", "sentinel", "cluster"] = Field(
        default="auto", description="kind of Redis server; auto: ask it"
    )
    host: RedisHost = Field(default="localhost", description="host of the Redis server")
    port: Port = Field(default=6379, description="port of the Redis server")
    db: Count = Field(default=0, description="number of the Redis database; 0 on a cluster")
    username: Username = Field(default=None, description="ACL user of the Redis server; empty: none")
    password: Password = Field(default=None, description="password of the Redis server; empty: none")
    key_prefix: KeyPrefix = Field(default="proxy:cache:", description="what every key of ours in Redis begins with")
    compression: Flag = Field(default=True, description="zstd at rest, from 1 KB, where it is smaller")
    on_loss: Literal["serve", "strict"] = Field(
        default="serve", description="cut off: serve own tiers, or distrust after 30 s"
    )
    lazy_connect: Flag = Field(default=True, description="connect at first use instead of at start")
    connect_timeout: SomeSeconds = Field(default=0.25, description="seconds to connect")
    read_timeout: SomeSeconds = Field(default=0.25, description="seconds for an answer")
    pool: Positive = Field(default=50, description="connections per instance")
    scan_count: Positive = Field(default=500, description="keys asked for in one SCAN step")
    max_object: Size = Field(default=1 * MIB, description="largest answer it takes")

    @model_validator(mode="before")
    @classmethod
    def _auto(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or data.get("enabled", "auto") not in ("auto", None):
            return data
        given = {name: value for name, value in data.items() if name != "enabled"}
        return {**given, "enabled": any(value not in (None, "") for value in given.values())}


class LimitSettings(Section):
    """How much of anything is taken."""

    request_line: Size = Field(default=8190, description="bytes of a request line; past it 414")
    header: Size = Field(default=8190, description="bytes of one header; past it 431")
    header_count: Positive = Field(default=100, description="headers of a request; past it 431")
    headers: Size = Field(default=32 * KIB, description="bytes of all headers; past it 431")
    body: Size = Field(default=100 * MIB, description="bytes of a request body; past it 413")
    key_body: Size = Field(
        default=1 * MIB, description="bytes of a body that may enter a key; past it BYPASS and streamed"
    )
    connections: Positive = Field(default=10_000, description="client connections; past it 503")
    pipelined: Positive = Field(default=32, description="requests waiting on one connection; past it close")
    open_files: Count = Field(
        default=1000,
        description="files of answers kept open, a quarter of the descriptors at most; past it each hit opens its own",
    )
    variants: Positive = Field(default=32, description="variants of one key; past it the oldest leaves")
    tags: Count = Field(default=128, description="tags of one entry; past it dropped and counted")
    rate_clients: Positive = Field(
        default=100_000, description="clients of limited rules that are known; past it the longest silent begins anew"
    )
    rate_times: Positive = Field(
        default=2_000_000,
        description="requests that limits up to 1,000 remember together, 8 bytes each; past it the same",
    )


class TimeoutSettings(Section):
    """How long clients may take."""

    head: SomeSeconds = Field(default=10.0, description="seconds for a request's whole head; past it 408")
    body_idle: SomeSeconds = Field(default=30.0, description="seconds between two parts of a request body; past it 408")
    keep_alive: SomeSeconds = Field(default=30.0, description="seconds that a connection may be idle")
    send_idle: SomeSeconds = Field(default=60.0, description="seconds that a client may take nothing of its answer")


class FlightSettings(Section):
    """How requests for one missing answer are gathered."""

    wait: SomeSeconds = Field(default=30.0, description="seconds until one waiting request becomes a second leader")
    lease: SomeSeconds = Field(default=10.0, description="seconds that an instance's claim to fetch holds; renewed")
    uncacheable: Seconds = Field(default=10.0, description="seconds that a key is remembered as lately uncacheable")


class WarmSettings(Section):
    """How fast answers are fetched that no client asks for yet."""

    max_urls: Positive = Field(default=10_000, description="URLs of one job; past it 413")
    concurrency: Positive = Field(default=8, description="URLs asked for at a time by all jobs of an instance")
    rate: Count = Field(default=50, description="fetches that they begin in a second; 0: as fast as it goes")


class JournalSettings(Section):
    """The record of purges."""

    records: Positive = Field(default=100_000, description="records kept; what falls off raises the floor")


class LogSettings(Section):
    """What is written, and how."""

    level: LogLevel = Field(default="info", description="debug, info, warning, error or critical")
    format: Literal["text", "json"] | None = Field(default=None, description="text or json; none: text on a terminal")
    access: Flag = Field(default=True, description="one line for each request")
    redact_query: WordList = Field(
        default=(), description="query parameters whose values are logged as keyed hashes: [key, token], say"
    )


class TracingSettings(Section):
    """What is sent to a collector of OpenTelemetry."""

    endpoint: CollectorUrl | None = Field(
        default=None, description="address of an OTLP collector, before /v1/traces; none: nothing is traced"
    )
    headers: ToldHeaders = Field(default={}, description="headers for the collector, an API key say")
    ratio: Share = Field(default=1.0, description="share of requests that are traced, where no caller has decided")
    service_name: Word = Field(default="cachegate", description="what the gateway is called in traces")
    metrics: Flag = Field(default=True, description="send the figures of the metrics page there too")


class ObserveSettings(Section):
    """What answers tell about their making, and what is remembered of them."""

    server_timing: Flag = Field(default=False, description="a Server-Timing header with the time per tier and upstream")
    samples: Count = Field(
        default=4096, description="fetched answers whose digests are kept for `cachegate suggest`; 0: none"
    )
    tracing: TracingSettings = Field(
        default=TracingSettings(), description="traces and figures for a collector of OpenTelemetry"
    )
