"""The closed vocabulary of reasons.

One word means the same in `Cache-Status` (detail=), the access log, the metrics and `explain`. A member's value is
`(word, clause, advice)`: the document that makes it so, and what an operator can change about it ("" when nothing).
Adding a reason touches this file and the one that decides it.
"""

from enum import Enum
from typing import Self


class Why(Enum):
    """Why a request was answered as it was, or why an answer was not stored."""

    word: str
    clause: str
    advice: str

    def __new__(cls, word: str, clause: str = "", advice: str = "") -> Self:
        member = object.__new__(cls)
        member._value_ = word
        member.word, member.clause, member.advice = word, clause, advice
        return member

    def __str__(self) -> str:
        return self.word

    # answered from store
    FRESH = "fresh", "RFC 9111 4.2"
    NOT_MODIFIED = "not-modified", "RFC 9110 13.2.2"
    RANGE = "range", "RFC 9110 14.2"
    REVALIDATED = "revalidated", "RFC 9111 4.3.3"
    STALE_WHILE_REVALIDATE = "stale-while-revalidate", "RFC 5861 3"
    STALE_IF_ERROR = "stale-if-error", "RFC 5861 4"
    MAX_STALE = "max-stale", "RFC 9111 5.2.1.2"

    # asked upstream
    URI_MISS = "uri-miss", "RFC 9111 4"
    VARY_MISS = "vary-miss", "RFC 9111 4.1", "the answer varies by a request header whose value is new"
    STALE = "stale", "RFC 9111 4.2.4", "a longer ttl, or stale_while_revalidate"
    CUT_OFF = "cut-off", "", "redis.on_loss: serve trusts the own tiers while the other instances cannot be heard"
    PURGED = "purged", "", "a purge came after this answer was fetched"
    MUST_REVALIDATE = "must-revalidate", "RFC 9111 5.2.2.2"
    ORIGIN_NO_CACHE = "origin-no-cache", "RFC 9111 5.2.2.4", "override: true lets the rule's ttl win"
    REQUEST_NO_CACHE = "request-no-cache", "RFC 9111 5.2.1.4", "cache.client_directives"
    REQUEST_MAX_AGE = "request-max-age", "RFC 9111 5.2.1.1", "cache.client_directives"
    REQUEST_MIN_FRESH = "request-min-fresh", "RFC 9111 5.2.1.3", "cache.client_directives"
    PRECONDITION = "precondition", "RFC 9111 4.3.2", "If-Match and If-Unmodified-Since are the origin's to evaluate"
    CREDENTIALS = "credentials", "RFC 9111 3.5", "key.credentials: key or ignore, or the origin's public/s-maxage"
    COOKIE = "cookie", "", "key.cookies: [names] or ignore, or the origin's explicit freshness"
    COLLAPSED = "collapsed", "RFC 9211 2.7"
    ONLY_IF_CACHED = "only-if-cached", "RFC 9111 5.2.1.7"
    LATELY_UNCACHEABLE = "lately-uncacheable", "", "the last answer could not be stored; see its reason"
    REFRESH_AHEAD = "refresh-ahead"

    # not stored (seen on the answer)
    STORED = "stored", "RFC 9111 3"
    METHOD = "method", "RFC 9111 3", "name the method in the rule's methods"
    STATUS = "status", "RFC 9111 3", "conditions.statusCodes or negative_ttl, or the origin's explicit freshness"
    REQUEST_NO_STORE = "request-no-store", "RFC 9111 5.2.1.5", "cache.client_directives"
    NO_STORE = "no-store", "RFC 9111 5.2.2.5"
    PRIVATE = "private", "RFC 9111 5.2.2.7", "store_private with an identity in the key"
    SET_COOKIE = "set-cookie", "RFC 9111 7.3", "cache.store_set_cookie, with the origin's public"
    VARY_STAR = "vary-star", "RFC 9111 4.1"
    NO_FRESHNESS = "no-freshness", "RFC 9111 4.2", "give the rule a ttl, or the answer Cache-Control or a validator"
    MUST_UNDERSTAND = "must-understand", "RFC 9111 5.2.2.3"
    PARTIAL = "partial", "RFC 9111 3.3"
    MIN_SIZE = "min-size", "", "conditions.minSize"
    MAX_SIZE = "max-size", "", "conditions.maxSize, or the tiers' max_object"
    UNPROVEN_END = "unproven-end", "RFC 9111 3.3", "the origin ends this body by closing the connection"
    TRUNCATED = "truncated", "RFC 9111 3.3"
    ZERO_TTL = "zero-ttl", "RFC 9111 4.2.1"
    HEAD_ONLY = "head", "RFC 9111 4.3.5"

    # not a matter for the cache
    NO_RULE = "no-rule", "", "a rule whose pattern fits, or cache.unmatched: origin"
    RULE_OFF = "rule-off", "", "mode: off in the rule"
    SHADOW = "shadow", "", "mode: shadow measures and never serves"
    UPGRADE = "upgrade", "RFC 9110 7.8"
    BODY_TOO_LARGE = "body-too-large", "", "limits.key_body"
    UNSAFE_TARGET = "unsafe-target", "RFC 3986 6.2", "the path has no one normal form"
    LOOP = "loop", "RFC 9110 15.5.9"
    MALFORMED = "malformed", "RFC 9112 3.2"
    TOO_LARGE = "too-large", "RFC 9110 15.5.14", "limits.body"
    RATE_LIMITED = "rate-limited", "RFC 6585 4", "rate_limit of the rule"
    LIMITER_AWAY = "limiter-away", "RFC 9110 15.6.4", "rate_limit.on_redis_loss: local or open"
    FORBIDDEN = "forbidden", "", "PURGE wants the admin token"
    CLIENT_GONE = "client-gone", "", "the client left, or stopped sending, before it had its answer"
    CONTENT_IN_GET = "content-in-get", "RFC 9110 9.3.1", "a body on GET is not part of the key"
    METHOD_OVERRIDE = "method-override", "", "the request asks for another method than its own"

    # the upstream failed
    UPSTREAM_REFUSED = "upstream-refused", "RFC 9110 15.6.3"
    UPSTREAM_DNS = "upstream-dns", "RFC 9110 15.6.3"
    UPSTREAM_TLS = "upstream-tls", "RFC 9110 15.6.3", "upstream.ca_file"
    UPSTREAM_CONNECT_TIMEOUT = "upstream-connect-timeout", "RFC 9110 15.6.5", "upstream.connect_timeout"
    UPSTREAM_FIRST_BYTE_TIMEOUT = "upstream-first-byte-timeout", "RFC 9110 15.6.5", "upstream.first_byte_timeout"
    UPSTREAM_READ_TIMEOUT = "upstream-read-timeout", "RFC 9110 15.6.5", "upstream.read_timeout"
    UPSTREAM_RESET = "upstream-reset", "RFC 9110 15.6.3"
    UPSTREAM_FRAMING = "upstream-framing", "RFC 9112 6.3"
    UPSTREAM_ERROR = "upstream-error", "RFC 9110 15.6.3", "the origin answered 5xx to the request that was shared"
    UPSTREAM_UNAVAILABLE = "upstream-unavailable", "RFC 9110 15.6.4"
    UPSTREAM_GATEWAY_TIMEOUT = "upstream-gateway-timeout", "RFC 9110 15.6.5"
    UPSTREAM_BUSY = (
        "upstream-busy",
        "RFC 9110 15.6.4",
        "upstream.max_in_flight and max_queue, or the rule's concurrency",
    )
    BREAKER_OPEN = "breaker-open", "RFC 9110 15.6.4", "upstream.breaker"
    OVER_MEMORY = (
        "over-memory",
        "RFC 9110 15.6.4",
        "memory.limit, with memory.max_bytes well below it",
    )
    INTERNAL = "internal", "RFC 9110 15.6.1"
