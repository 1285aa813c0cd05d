"""JSON lines: our own access log, and those of others whose names are known or given.

A name may be a dotted path ("request.uri"). Of the names that are tried for each thing the first one present counts.
"""

from typing import Any

import orjson

from proxy.insight.logs_combined import combined
from proxy.insight.logs_fields import count_of, fields_of, host_of, method_of, seconds_of, status_of, target_of, time_of
from proxy.insight.seen import Malformed, Names, Ours, Seen
from proxy.message import Fields
from proxy.outcome import Verdict

# What can be told, and the names that it goes by in the logs of nginx, Caddy, Traefik, Envoy and others.
KNOWN: dict[str, tuple[str, ...]] = {
    "time": ("time", "timestamp", "@timestamp", "ts", "time_iso8601", "msec", "time_local", "StartUTC", "start_time"),
    "method": ("method", "request_method", "request.method", "RequestMethod"),
    "target": ("target", "request_uri", "uri", "url", "request.uri", "RequestPath", "path"),
    "query": ("query", "args", "query_string"),
    "host": ("host", "http_host", "server_name", "request.host", "RequestHost", "authority"),
    "status": ("status", "status_code", "response_code", "DownstreamStatus"),
    "bytes": ("bytes", "body_bytes_sent", "bytes_sent", "size", "DownstreamContentSize"),
    "seconds": ("upstream_seconds", "upstream_response_time", "seconds", "request_time", "duration"),
    "scheme": ("scheme", "RequestScheme"),
    "request": ("request",),  # a whole request line
    "cache_control": ("cache_control", "sent_http_cache_control", "upstream_http_cache_control"),
    "digest": ("digest", "etag", "sent_http_etag", "upstream_http_etag"),
}
_MESSAGES = {"message", "msg"}
# Objects of request headers: of Caddy, Envoy's example, HTTP libraries. nginx names each: "http_accept_language".
_HEADERS = ("request.headers", "request_headers", "headers")
_HTTP = "http_"
_ALWAYS = {"http_host", "http_user_agent", "http_referer", "http_x_forwarded_for"}  # said without a thought of keys


def json_line_of(line: bytes, names: Names) -> Seen | None:
    """What the line says; None for one that is not about a request (the program's other messages). Malformed when it is
    no JSON, or as `seen_of`."""
    try:
        told = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"no JSON: {error}") from None
    if not isinstance(told, dict):
        raise Malformed("no JSON object")
    return seen_of(told, names)


def seen_of(told: dict[str, Any], names: Names) -> Seen | None:
    """What is told of a request, by names; None where it is about something else. Malformed when it lacks what a
    request has."""
    if "level" in told and told.keys() & _MESSAGES and "method" not in told:
        return None
    return _ours(told) if "verdict" in told and "key" in told else _foreign(told, names)


def _ours(told: dict[str, Any]) -> Seen:
    try:
        query = told["query"]
        _, _, target = target_of(told["path"] if query is None else f"{told['path']}?{query}")
        ttl = told["origin_ttl"]
        took = told["upstream_seconds"]
        return Seen(
            time_of(told["time"]),
            method_of(told["method"]),
            told["host"],
            target,
            status_of(told["status"]),
            count_of(told["bytes"], "bytes"),
            float(told["seconds"] if took is None else took),
            digest=str(told.get("digest") or ""),
            ours=Ours(
                Verdict(told["verdict"]),
                told["reason"] or "",
                told["rule"] or "",
                told["key"] or "",
                None if ttl is None else float(ttl),
                told["stored"] in (True, "true"),
            ),
        )
    except KeyError as error:
        raise Malformed(f"no {error.args[0]}") from None
    except Malformed:
        raise
    except (TypeError, AttributeError, ValueError) as error:
        raise Malformed(f"a value is of the wrong kind: {error}") from None


def _foreign(told: dict[str, Any], names: Names) -> Seen:
    def value(name: str) -> Any:
        return _named(told, (names[name],) if name in names else KNOWN[name])

    request, when = value("request"), value("time")
    if isinstance(request, str) and value("method") is None:
        line = combined(f'- - - [01/Jan/2000:00:00:00 +0000] "{request}" 200 0')
        method, host, target = line.method, line.host, line.target
    else:
        if (method := value("method")) is None or (url := value("target")) is None:
            raise Malformed(f"no {'method' if method is None else 'URL'} under any name that is known; see --field")
        _, host, target = target_of(str(url))
    if when is None or value("status") is None:
        raise Malformed(f"no {'time' if when is None else 'status'} under any name that is known; see --field")
    query, scheme = value("query"), str(value("scheme") or "http").lower()
    if query and query != "-" and "?" not in target:
        _, _, target = target_of(f"{target}?{query}")
    control = value("cache_control")
    return Seen(
        time_of(when),
        method_of(str(method)),
        host_of(str(value("host") or host), scheme),
        target,
        status_of(value("status")),
        count_of(value("bytes"), "bytes"),
        seconds_of(value("seconds")),
        scheme if scheme in ("http", "https") else "http",
        asked=_asked(told),
        answer=None if control is None else _control(str(control)),
        digest=_digest(value("digest")),
    )


def _asked(told: dict[str, Any]) -> Fields | None:
    """The request's fields, where the line has them; of some that are named one by one: all that matter."""
    listed = _named(told, _HEADERS)
    if isinstance(listed, dict):
        pairs = ((name, values if isinstance(values, list) else [values]) for name, values in listed.items())
        return fields_of((name, value) for name, each in pairs for value in each)
    named = [name for name in told if name.startswith(_HTTP) and name not in _ALWAYS]
    if not named:
        return None
    said = ((name.removeprefix(_HTTP).replace("_", "-"), told[name]) for name in named)
    return fields_of((name, value) for name, value in said if value not in (None, "", "-"))


def _control(text: str) -> Fields:
    return Fields() if text in ("", "-") else fields_of([("Cache-Control", text)])


def _digest(value: object) -> str:
    return "" if value in (None, "", "-") else str(value)


def _named(told: dict[str, Any], names: tuple[str, ...]) -> Any:
    for name in names:
        found: Any = told.get(name)
        if found is None and "." in name:
            found = told
            for step in name.split("."):
                found = found.get(step) if isinstance(found, dict) else None
        if found is not None:
            return found
    return None
