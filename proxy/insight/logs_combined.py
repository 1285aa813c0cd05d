"""Lines of the combined format (nginx, Apache), and what is often put before and behind it.

    203.0.113.9 - - [10/Oct/2000:13:55:36 -0700] "GET /a?b=c HTTP/1.1" 200 2326 "referer" "agent"

Before it may stand the virtual host ("host:443 203.0.113.9 - - …"). Behind it any of these, bare, quoted or as
name=value: `$host`, `$request_time`, `$upstream_response_time`, the answer's Cache-Control.
"""

import re

from proxy.insight.logs_fields import clf_time, count_of, host_of, method_of, seconds_of, status_of, target_of
from proxy.insight.seen import Malformed, Seen
from proxy.message import Fields

_QUOTED = r'"((?:[^"\\]|\\.)*+)"'
_LINE = re.compile(
    rf"(?P<who>[^\[\n]{{1,2000}}?) ?\[(?P<time>[^\]]{{1,40}})\] {_QUOTED} "
    r"(?P<status>\d{3}) (?P<size>\d+|-)(?P<rest>.*)"
)
_EXTRA = re.compile(rf'(?:([A-Za-z_]\w*)=)?(?:{_QUOTED}|([^\s"]+))')
_SECONDS = re.compile(r"\d+\.\d+(?:[,:] ?\d+\.\d+)*")
_HOST = re.compile(r"(?=.*[A-Za-z:])(?!-)(?:[A-Za-z0-9-]+\.)*[A-Za-z0-9-]+(?::\d{1,5})?")
_CACHE_CONTROL = re.compile(r"(?i)(?:\A|[ ,])(?:max-age|s-maxage)=|\A(?:public|private|no-store|no-cache)\b")
_TOOK = ("request_time", "rt")
_HOSTS = ("host", "http_host", "server_name", "vhost")
_CONTROLS = ("cache_control", "sent_http_cache_control", "upstream_http_cache_control", "cc")


def combined(line: str) -> Seen:
    """What the line says. Malformed when it is of another form."""
    found = _LINE.match(line)
    if found is None:
        raise Malformed('not of the combined format: no [time] "request" status bytes')
    method, host, target = _request(found[3])
    extras = _Extras.of(found["rest"])
    before = found["who"].split(" ")
    named = before[0] if len(before) > 3 else ""
    return Seen(
        clf_time(found["time"]),
        method,
        host_of(extras.host or named or host, "http"),
        target,
        status_of(found["status"]),
        count_of(found["size"], "bytes"),
        extras.took,
        answer=None if extras.control is None else Fields.of(("Cache-Control", extras.control)),
    )


def _request(line: str) -> tuple[str, str, str]:
    words = line.split(" ")
    if len(words) < 2:
        raise Malformed(f"{line[:40]!r} is no request line")
    method = method_of(words[0])
    _, host, target = target_of(words[1] if len(words) == 3 else " ".join(words[1:]).partition(" HTTP/")[0])
    return method, host, target


class _Extras:
    """What stands behind the bytes. Of quoted texts the first two are referer and agent."""

    __slots__ = ("control", "host", "took")

    def __init__(self, host: str, took: float, control: str | None) -> None:
        self.host, self.took, self.control = host, took, control

    @classmethod
    def of(cls, rest: str) -> "_Extras":
        host, took, control, quoted = "", None, None, 0
        for name, text, bare in _EXTRA.findall(rest):
            value = text or bare
            if not bare and not name:
                quoted += 1
                if quoted <= 2:
                    continue
            if name in _CONTROLS or (not name and _CACHE_CONTROL.search(value)):
                control = value if value != "-" else control or ""
            elif name in _HOSTS or (not name and not host and _HOST.fullmatch(value)):
                host = value
            elif name in _TOOK or (not name and took is None and _SECONDS.fullmatch(value)):
                took = seconds_of(value)
        return cls(host, took or 0.0, control)
