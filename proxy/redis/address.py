"""Where Redis is and how it is spoken to. Pure: the settings check addresses with it, `dial` uses them.

    redis://[user[:password]@]host[:port][/db]            rediss:// is the same over TLS
    unix://[user[:password]@]/path/to/socket[?db=1]
    redis+sentinel://[user[:password]@]host[:port][,host[:port]...]/service[/db]
    redis+cluster://[user[:password]@]host[:port][,host[:port]...]

Options after `?`: `db`; `tls=true` (sentinel, cluster); `ca_file=/path`, `verify=false` (with TLS); `replicas=true`
(cluster: reads may go to replicas); `sentinel_username`, `sentinel_password`.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

_PORTS = {"sentinel": 26379}
_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "redis+cluster")
_OPTIONS = ("db", "tls", "ca_file", "verify", "replicas", "sentinel_username", "sentinel_password")


class Mode(StrEnum):
    """The kind of server; `auto`: it is asked."""

    AUTO = "auto"
    SINGLE = "single"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Address:
    """`nodes` are where to begin: the server, the sentinels, or some of the cluster. `service` is what the sentinels
    call it."""

    nodes: tuple[tuple[str, int], ...] = (("localhost", 6379),)
    mode: Mode = Mode.AUTO
    unix: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca_file: str | None = None
    verify: bool = True
    replicas: bool = False
    service: str = ""
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """For people, without secrets."""
        if self.unix:
            return f"unix://{self.unix}"
        where = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.nodes)
        match self.mode:
            case Mode.SENTINEL:
                return f"redis+sentinel://{where}/{self.service}"
            case Mode.CLUSTER:
                return f"redis+cluster://{where}"
            case _:
                return f"{'rediss' if self.tls else 'redis'}://{where}/{self.db}"

    @classmethod
    def parse(cls, url: str) -> Self:
        """ValueError says what is wrong and never quotes what may be a secret."""
        try:
            parts = urlsplit(url)
        except ValueError:
            raise ValueError("wants a URL such as redis://host:6379/0") from None
        if parts.scheme not in _SCHEMES:
            raise ValueError(f"wants a URL that begins with one of {', '.join(f'{name}://' for name in _SCHEMES)}")
        options = _options(parts)
        username, password, place = _userinfo(parts.netloc)
        common: dict[str, Any] = {
            "username": username,
            "password": password,
            "ca_file": options.get("ca_file"),
            "verify": _flag(options, "verify", True),
        }
        if parts.scheme == "unix":
            if not parts.path.strip("/"):
                raise ValueError("wants the path of a socket, as in unix:///run/redis.sock")
            return cls(mode=Mode.SINGLE, unix=unquote(parts.path), db=_db(options.get("db", "")), **common)
        mode = Mode(parts.scheme.partition("+")[2] or "auto")
        nodes = tuple(_node(text, _PORTS.get(mode, 6379)) for text in place.split(","))
        if mode is Mode.AUTO and len(nodes) > 1:
            raise ValueError("names several servers: write redis+cluster:// or redis+sentinel://")
        path = [unquote(step) for step in parts.path.split("/") if step]
        service = ""
        if mode is Mode.SENTINEL:
            if not path:
                raise ValueError("wants the name of the service, as in redis+sentinel://host:26379/mymaster")
            service = path.pop(0)
        if len(path) > 1:
            raise ValueError("wants nothing behind the number of the database")
        db = _db(path[0] if path else options.get("db", ""))
        if mode is Mode.CLUSTER and db:
            raise ValueError(f"a Redis cluster has only db 0; found {db}")
        return cls(
            nodes=nodes,
            mode=mode,
            db=db,
            tls=parts.scheme == "rediss" or _flag(options, "tls", False),
            replicas=_flag(options, "replicas", False),
            service=service,
            sentinel_username=options.get("sentinel_username"),
            sentinel_password=options.get("sentinel_password"),
            **common,
        )


def _options(parts: SplitResult) -> dict[str, str]:
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name in options:
        if name not in _OPTIONS:
            raise ValueError(f"has an unknown option; known are {', '.join(_OPTIONS)}")
    return options


def _userinfo(netloc: str) -> tuple[str | None, str | None, str]:
    """Empty is none, as in `redis://:@host`."""
    userinfo, _, place = netloc.rpartition("@")
    name, _, password = userinfo.partition(":")
    return unquote(name) or None, unquote(password) or None, place


def _node(text: str, port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, given = parts.hostname, parts.port
    except ValueError:
        host, given = None, None
    if not host or given == 0 or parts.path or "@" in text:
        raise ValueError("wants host:port, several with commas between them")
    return host, given or port


def _db(text: str) -> int:
    if not text:
        return 0
    if not text.isdecimal() or len(text) > 6:
        raise ValueError("wants the number of a database, as in redis://host:6379/0")
    return int(text)


def _flag(options: dict[str, str], name: str, default: bool) -> bool:
    text = options.get(name, "").lower()
    if text not in ("", "true", "false", "1", "0", "yes", "no"):
        raise ValueError(f"wants {name}=true or {name}=false")
    return default if not text else text in ("true", "1", "yes")
