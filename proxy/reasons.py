"""The closed vocabulary of reasons.

One word means the same in `Cache-Status` (detail=), the access log, the metrics and `explain`. A member's value is
`(word, clause, means, advice)`: the document that makes it so, what it means in a few words, and what an operator can
change about it ("" when nothing).
Adding a reason touches this file and the one that decides it.
"""

from enum import Enum
from typing import Self


class Why(Enum):
    """Why a request was answered as it was, or why an answer was not stored."""

    word: str
    clause: str
    means: str
    advice: str

    def __new__(cls, word: str, clause: str = "", means: str = "", advice: str = "") -> Self:
        member = object.__new__(cls)
        member._value_ = word
        member.word, member.clause, member.means, member.advice = word, clause, means, advice
        return member

    def __str__(self) -> str:
        return self.word

    __hash__ = object.__hash__  # there is one of each; Enum's takes longer

    # answered from store
    FRESH = "fresh", "RFC 9111 4.2", "a stored copy that is still fresh answers"
    NOT_MODIFIED = "not-modified", "RFC 9110 13.2.2", "the client has this very answer already: 304"
    RANGE = "range", "RFC 9110 14.2", "the part that was asked for is cut from what is stored"
    REVALIDATED = "revalidated", "RFC 9111 4.3.3", "the origin confirmed the stored copy"
    STALE_WHILE_REVALIDATE = (
        "stale-while-revalidate",
        "RFC 5861 3",
        "a stale copy answers in its window, and is fetched anew behind it",
    )
    STALE_IF_ERROR = "stale-if-error", "RFC 5861 4", "a stale copy stands in for an origin that failed"
    MAX_STALE = "max-stale", "RFC 9111 5.2.1.2", "the client takes a stale copy, and says so"

    # asked upstream
    URI_MISS = "uri-miss", "RFC 9111 4", "nothing is stored under the key of this request"
    VARY_MISS = (
        "vary-miss",
        "RFC 9111 4.1",
        "something is stored for this URL, but for other request headers",
        "the answer varies by a request header whose value is new",
    )
    STALE = (
        "stale",
        "RFC 9111 4.2.4",
        "what is stored is over its lifetime, and in no window",
        "a longer ttl, or stale_while_revalidate",
    )
    CUT_OFF = (
        "cut-off",
        "",
        "the own tiers are not trusted while the other instances cannot be heard",
        "redis.on_loss: serve trusts the own tiers while the other instances cannot be heard",
    )
    PURGED = "purged", "", "what was stored has been purged", "a purge came after this answer was fetched"
    MUST_REVALIDATE = (
        "must-revalidate",
        "RFC 9111 5.2.2.2",
        "what is stored is stale, and the origin forbids to serve it so",
    )
    ORIGIN_NO_CACHE = (
        "origin-no-cache",
        "RFC 9111 5.2.2.4",
        "the origin wants to be asked each time",
        "override: true lets the rule's ttl win",
    )
    REQUEST_NO_CACHE = (
        "request-no-cache",
        "RFC 9111 5.2.1.4",
        "the client wants the origin to be asked",
        "cache.client_directives",
    )
    REQUEST_MAX_AGE = (
        "request-max-age",
        "RFC 9111 5.2.1.1",
        "the stored copy is older than the client takes",
        "cache.client_directives",
    )
    REQUEST_MIN_FRESH = (
        "request-min-fresh",
        "RFC 9111 5.2.1.3",
        "the stored copy will not be fresh for as long as the client wants",
        "cache.client_directives",
    )
    PRECONDITION = (
        "precondition",
        "RFC 9111 4.3.2",
        "the request has a condition that only the origin may judge",
        "If-Match and If-Unmodified-Since are the origin's to evaluate",
    )
    CREDENTIALS = (
        "credentials",
        "RFC 9111 3.5",
        "the request carries credentials, and its answer may be one person's",
        "key.credentials: key or ignore, or the origin's public/s-maxage",
    )
    COOKIE = (
        "cookie",
        "",
        "the request carries a cookie, and its answer may be one person's",
        "key.cookies: [names] or ignore, or the origin's explicit freshness",
    )
    COLLAPSED = "collapsed", "RFC 9211 2.7", "another request was fetching the same, and this one shared its answer"
    ONLY_IF_CACHED = "only-if-cached", "RFC 9111 5.2.1.7", "the client wants no fetch, and nothing usable is stored"
    LATELY_UNCACHEABLE = (
        "lately-uncacheable",
        "",
        "an answer for this key could not be stored a moment ago, so that nobody waits for one",
        "the last answer could not be stored; see its reason",
    )
    REFRESH_AHEAD = "refresh-ahead", "", "fetched anew before it was over"

    # not stored (seen on the answer)
    STORED = "stored", "RFC 9111 3", "the answer may be shared and was stored"
    METHOD = (
        "method",
        "RFC 9111 3",
        "the method is not one that is cached here",
        "name the method in the rule's methods",
    )
    STATUS = (
        "status",
        "RFC 9111 3",
        "an answer with this status is not kept",
        "conditions.statusCodes or negative_ttl, or the origin's explicit freshness",
    )
    REQUEST_NO_STORE = (
        "request-no-store",
        "RFC 9111 5.2.1.5",
        "the client wants nothing of it to be stored",
        "cache.client_directives",
    )
    NO_STORE = "no-store", "RFC 9111 5.2.2.5", "the origin forbids to store it"
    PRIVATE = (
        "private",
        "RFC 9111 5.2.2.7",
        "the origin means it for one person",
        "store_private with an identity in the key",
    )
    SET_COOKIE = (
        "set-cookie",
        "RFC 9111 7.3",
        "the answer sets a cookie",
        "cache.store_set_cookie, with the origin's public",
    )
    VARY_STAR = "vary-star", "RFC 9111 4.1", "the answer depends on more than the request: Vary: *"
    NO_FRESHNESS = (
        "no-freshness",
        "RFC 9111 4.2",
        "neither the origin nor a rule gives it a lifetime, and there is no validator",
        "give the rule a ttl, or the answer Cache-Control or a validator",
    )
    MUST_UNDERSTAND = (
        "must-understand",
        "RFC 9111 5.2.2.3",
        "the origin lets only caches store it that know this status",
    )
    PARTIAL = "partial", "RFC 9111 3.3", "a part was wanted, and not all of it is held or may be kept"
    MIN_SIZE = "min-size", "", "smaller than the rule keeps", "conditions.minSize"
    MAX_SIZE = "max-size", "", "larger than may be kept", "conditions.maxSize, or the tiers' max_object"
    UNPROVEN_END = (
        "unproven-end",
        "RFC 9111 3.3",
        "nothing proves that the body was whole",
        "the origin ends this body by closing the connection",
    )
    TRUNCATED = (
        "truncated",
        "RFC 9111 3.3",
        "the body ended too early",
        "the origin, or what keeps the answer, failed under way: the log says how; upstream.read_timeout",
    )
    ZERO_TTL = "zero-ttl", "RFC 9111 4.2.1", "its lifetime is nought, or was over when it came"
    HEAD_ONLY = "head", "RFC 9111 4.3.5", "an answer to HEAD has no content to keep"

    # not a matter for the cache
    NO_RULE = (
        "no-rule",
        "",
        "no rule fits, and what no rule names is not cached",
        "a rule whose pattern fits, or cache.unmatched: origin",
    )
    RULE_OFF = "rule-off", "", "the rule says that it is not to be cached", "mode: off in the rule"
    SHADOW = "shadow", "", "the rule is measured, and does not serve", "mode: shadow measures and never serves"
    UPGRADE = "upgrade", "RFC 9110 7.8", "the connection becomes another protocol's"
    BODY_TOO_LARGE = "body-too-large", "", "the request's body is too large to be part of a key", "limits.key_body"
    UNSAFE_TARGET = (
        "unsafe-target",
        "RFC 3986 6.2",
        "the origin might read this path in another way than the rules do",
        "the path has no one normal form",
    )
    LOOP = "loop", "RFC 9110 15.5.9", "the request came through this gateway before"
    MALFORMED = "malformed", "RFC 9112 3.2", "the request cannot be read in one way only"
    TOO_LARGE = "too-large", "RFC 9110 15.5.14", "the request is larger than is taken", "limits.body"
    RATE_LIMITED = (
        "rate-limited",
        "RFC 6585 4",
        "the client asked more often than the rule allows",
        "rate_limit of the rule",
    )
    LIMITER_AWAY = (
        "limiter-away",
        "RFC 9110 15.6.4",
        "nobody can count this client now, and the rule wants it counted",
        "rate_limit.on_redis_loss: local or open",
    )
    FORBIDDEN = "forbidden", "", "who asked may not", "PURGE wants the admin token"
    CLIENT_GONE = (
        "client-gone",
        "",
        "the client left before its answer",
        "the client left, or stopped sending, before it had its answer",
    )
    CONTENT_IN_GET = (
        "content-in-get",
        "RFC 9110 9.3.1",
        "a GET came with content, and is passed on as it is",
        "a body on GET is not part of the key",
    )
    METHOD_OVERRIDE = (
        "method-override",
        "",
        "a header asks for another method than the request's own",
        "the request asks for another method than its own",
    )

    # the upstream failed
    UPSTREAM_REFUSED = "upstream-refused", "RFC 9110 15.6.3", "the origin refused the connection"
    UPSTREAM_DNS = "upstream-dns", "RFC 9110 15.6.3", "the origin's name is not known"
    UPSTREAM_TLS = "upstream-tls", "RFC 9110 15.6.3", "the origin could not be trusted", "upstream.ca_file"
    UPSTREAM_CONNECT_TIMEOUT = (
        "upstream-connect-timeout",
        "RFC 9110 15.6.5",
        "no connection to the origin came about in time",
        "upstream.connect_timeout",
    )
    UPSTREAM_FIRST_BYTE_TIMEOUT = (
        "upstream-first-byte-timeout",
        "RFC 9110 15.6.5",
        "the origin did not begin its answer in time",
        "upstream.first_byte_timeout",
    )
    UPSTREAM_READ_TIMEOUT = (
        "upstream-read-timeout",
        "RFC 9110 15.6.5",
        "the origin stopped in the middle of its answer",
        "upstream.read_timeout",
    )
    UPSTREAM_RESET = "upstream-reset", "RFC 9110 15.6.3", "the origin cut the connection"
    UPSTREAM_FRAMING = "upstream-framing", "RFC 9112 6.3", "the origin's answer cannot be read in one way only"
    UPSTREAM_ERROR = (
        "upstream-error",
        "RFC 9110 15.6.3",
        "the origin answered that it failed",
        "the origin answered 5xx to the request that was shared",
    )
    UPSTREAM_UNAVAILABLE = "upstream-unavailable", "RFC 9110 15.6.4", "the origin is not available"
    UPSTREAM_GATEWAY_TIMEOUT = "upstream-gateway-timeout", "RFC 9110 15.6.5", "the origin itself waited in vain"
    UPSTREAM_BUSY = (
        "upstream-busy",
        "RFC 9110 15.6.4",
        "as many calls are under way as may be, and enough wait",
        "upstream.max_in_flight and max_queue, or the rule's concurrency",
    )
    BREAKER_OPEN = (
        "breaker-open",
        "RFC 9110 15.6.4",
        "the origin failed too often and is left alone for a while",
        "upstream.breaker",
    )
    OVER_MEMORY = (
        "over-memory",
        "RFC 9110 15.6.4",
        "the process has no memory left for a fetch",
        "memory.limit, with memory.max_bytes well below it",
    )
    INTERNAL = "internal", "RFC 9110 15.6.1", "a fault of the gateway's own; its log says more"
