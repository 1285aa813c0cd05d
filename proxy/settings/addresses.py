"""The types of settings that are names or addresses in HTTP and on the network."""

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import BeforeValidator, SecretStr

from proxy.redis.address import Address
from proxy.settings.problems import found
from proxy.settings.values import VISIBLE, listed, matching, not_empty, secret, text

TOKEN_FORM = re.compile(r"[!-~]{8,512}")  # short enough for a header, too long to be guessed at the door
CACHED_METHODS = ("GET", "HEAD", "POST")

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:%[A-Za-z0-9._-]+)?")
_SET_BY_US = frozenset(
    {
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def method(value: object) -> str:
    """A method's name; names are case-sensitive, and ours are upper case (RFC 9110 9.1)."""
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise ValueError(f"wants the name of a method such as GET; found {found(value)}")
    return str(value).upper()


def cached_method(value: object) -> str:
    """A method whose answers can be stored."""
    if (name := method(value)) not in CACHED_METHODS:
        raise ValueError(f"wants GET, HEAD or POST, the methods that can be cached; found {found(value)}")
    return name


def path_prefix(value: object) -> str:
    """`/cache`: begins with a slash, ends without one."""
    if not isinstance(value, str) or not re.fullmatch(r"(?:/[A-Za-z0-9._~!$&'()*+,=:@-]+)+/?", value):
        raise ValueError(f"wants a path such as /cache; found {found(value)}")
    return str(value).rstrip("/")


def token(value: object) -> SecretStr:
    """A bearer token (RFC 6750 2.1), or `none`."""
    given = secret(value)
    if given.get_secret_value() != "none" and not TOKEN_FORM.fullmatch(given.get_secret_value()):
        raise ValueError("wants a token of 8 to 512 visible ASCII characters without spaces, or none")
    return given


def listening_host(value: object) -> str:
    """An address or a name of this machine, without brackets and without a port."""
    given = text(value)
    if not _HOST.fullmatch(given):
        raise ValueError(f"wants an address such as 127.0.0.1, 0.0.0.0 or ::, without a port; found {found(value)}")
    return given


def field_name(value: object) -> str:
    """A header's name in lower case (RFC 9110 5.1)."""
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise ValueError(f"wants the name of a header; found {found(value)}")
    return str(value).lower()


def added_field_name(value: object) -> str:
    """A header that may be added to what is sent upstream: none that frames or routes the message."""
    if (name := field_name(value)) in _SET_BY_US:
        raise ValueError(f"'{name}' is set by the gateway itself and cannot be added")
    return name


def field_value(value: object) -> SecretStr:
    """What an added header holds; fields are bytes, and text is theirs by ISO 8859-1 (RFC 9110 5.5)."""
    given = secret(value)
    if any(ord(character) > 255 for character in given.get_secret_value()):
        raise ValueError("wants characters that a header can hold: none outside of ISO 8859-1")
    return given


def network(value: object) -> IPv4Network | IPv6Network:
    """An address range in CIDR form, or one address."""
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    given = value if isinstance(value, str) else ""
    try:
        return ip_network(given)
    except ValueError as error:
        hint = f"; did you mean {ip_network(given, strict=False)}?" if "host bits" in str(error) else ""
        raise ValueError(f"wants a network such as 10.0.0.0/8; found {found(value)}{hint}") from None


def upstream_url(value: object) -> str:
    """`http(s)://host[:port][/base]` without a trailing slash."""
    parts = _base_url(value, "http://host:port or https://host/base", "upstream.headers.authorization")
    if any(segment in (".", "..") for segment in parts.path.split("/")):
        raise ValueError(f"wants a base path without . and ..; found {found(value, url=True)}")
    return str(value).rstrip("/")


def collector_url(value: object) -> str:
    """As `OTEL_EXPORTER_OTLP_ENDPOINT`: the part of the address that all signals share."""
    parts = _base_url(value, "http://host:4318 or https://host", "observe.tracing.headers.authorization")
    if re.search(r"/v1/(?:traces|metrics|logs)/?$", parts.path):
        raise ValueError(f"wants the address without what is put behind it, /v1/traces; found {found(value, url=True)}")
    return str(value).rstrip("/")


def listed_pairs(value: object) -> object:
    """A mapping, or text as `OTEL_EXPORTER_OTLP_HEADERS` has it: `name=value,name=value` with %-escapes. What is wrong
    with it is not quoted: it holds secrets."""
    if not isinstance(value, str):
        return value
    pairs = {}
    for part in value.split(","):
        name, equals, told = part.partition("=")
        if part.strip():
            if not equals:
                raise ValueError("wants headers as name=value, with commas between them")
            pairs[unquote(name.strip())] = unquote(told.strip())
    return pairs


def redis_host(value: object) -> str:
    """A name or an address; whoever writes a URL here may have written a password, which is not quoted."""
    given = text(value)
    if not _HOST.fullmatch(given):
        raise ValueError("wants a host name or address alone: a port belongs in redis.port, a URL in redis.url")
    return given


def redis_url(value: object) -> SecretStr:
    """A URL that may carry a password, so it is kept and quoted as a secret."""
    given = secret(value)
    Address.parse(given.get_secret_value())
    return given


def _base_url(value: object, wanted: str, header: str) -> SplitResult:
    """One behind which a path can be put; who has to prove himself does it in a `header`."""
    parts = _split_url(value, ("http", "https"), wanted)
    if "@" in parts.netloc:
        raise ValueError(f"user and password do not belong in the URL; add the header: {header}")
    if parts.query or parts.fragment or "?" in str(value) or "#" in str(value):
        raise ValueError(f"wants no query and no fragment; found {found(value, url=True)}")
    return parts


def _split_url(value: object, schemes: tuple[str, ...], wanted: str) -> SplitResult:
    try:
        parts = urlsplit(value if isinstance(value, str) and VISIBLE.fullmatch(value) else "")
        valid = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(f"wants {wanted}; found {found(value, url=True)}")
    return parts


Pseudonym = Annotated[str, BeforeValidator(matching(_TOKEN, "a name without spaces or separators (RFC 9110 7.6.3)"))]
PathPrefix = Annotated[str, BeforeValidator(path_prefix)]
FieldName = Annotated[str, BeforeValidator(field_name)]
AddedFieldName = Annotated[str, BeforeValidator(added_field_name)]
FieldValue = Annotated[SecretStr, BeforeValidator(field_value)]
FieldNames = Annotated[tuple[FieldName, ...], BeforeValidator(listed)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(network)]
Networks = Annotated[tuple[Network, ...], BeforeValidator(listed)]
UpstreamUrls = Annotated[
    tuple[Annotated[str, BeforeValidator(upstream_url)], ...],
    BeforeValidator(listed),
]
CollectorUrl = Annotated[str, BeforeValidator(collector_url)]
ToldHeaders = Annotated[dict[AddedFieldName, FieldValue], BeforeValidator(listed_pairs)]
ListeningHost = Annotated[str, BeforeValidator(listening_host)]
Token = Annotated[SecretStr, BeforeValidator(token)]
RedisHost = Annotated[str, BeforeValidator(redis_host)]
RedisUrl = Annotated[SecretStr, BeforeValidator(redis_url)]
RuleMethods = Annotated[
    tuple[Annotated[str, BeforeValidator(method)], ...], BeforeValidator(not_empty), BeforeValidator(listed)
]
Methods = Annotated[
    tuple[Annotated[str, BeforeValidator(cached_method)], ...], BeforeValidator(not_empty), BeforeValidator(listed)
]
KeyPrefix = Annotated[
    str,
    BeforeValidator(matching(re.compile(r"[!-)+->@-Z^-z|~]+"), "visible characters, none of * ? [ ] { } \\")),
]
