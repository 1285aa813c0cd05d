"""What each type of setting takes, and what it says of the rest. Row 127: the ttl presets."""

from ipaddress import ip_network
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from proxy.settings import addresses, values
from proxy.settings.values import TTL_PRESETS, Ttl

TAKEN: list[tuple[Any, object, object]] = [
    (values.Seconds, "600", 600.0),
    (values.Seconds, 0.25, 0.25),
    (values.Seconds, "10m", 600.0),
    (values.Seconds, "1h30m", 5400.0),
    (values.Seconds, "1h 30m", 5400.0),
    (values.Seconds, "2d", 172_800.0),
    (values.Seconds, "1w", 604_800.0),
    (values.Seconds, "250ms", 0.25),
    (values.Seconds, "1.5s", 1.5),
    (values.Seconds, "0", 0.0),
    (values.Size, "8190", 8190),
    (values.Size, "256MiB", 256 << 20),
    (values.Size, "1GiB", 1 << 30),
    (values.Size, "64kib", 64 << 10),
    (values.Size, "64k", 64 << 10),
    (values.Size, "1.5 MiB", 3 << 19),
    (values.Size, "10MB", 10_000_000),
    (values.Size, "12B", 12),
    (values.Size, 0, 0),
    (values.Share, "20%", 0.2),
    (values.Share, "0.1", 0.1),
    (values.Share, 1, 1.0),
    (values.Flag, "on", True),
    (values.Flag, "Yes", True),
    (values.Flag, "1", True),
    (values.Flag, "off", False),
    (values.Flag, "FALSE", False),
    (values.Flag, False, False),
    (values.Count, "0", 0),
    (values.Count, 3.0, 3),
    (values.Amount, "1e-05", 0.00001),
    (values.LogLevel, "WARN", "warning"),
    (values.Eviction, "S3FIFO", "s3fifo"),
    (addresses.Methods, "get, post", ("GET", "POST")),
    (addresses.Methods, ["HEAD"], ("HEAD",)),
    (addresses.Networks, "10.0.0.0/8,::1", (ip_network("10.0.0.0/8"), ip_network("::1"))),
    (addresses.FieldNames, "Accept-Language , X-A", ("accept-language", "x-a")),
    (addresses.UpstreamUrls, "http://a:1, https://b/base/", ("http://a:1", "https://b/base")),
    (addresses.UpstreamUrls, ["http://[::1]:8080/"], ("http://[::1]:8080",)),
    (addresses.PathPrefix, "/admin/", "/admin"),
    (values.Count, 2**62, 2**62),
    (values.Size, 2**62, 2**62),
    *(
        (addresses.ListeningHost, host, host)
        for host in ("0.0.0.0", "::", "fe80::1%eth0", "api-1.example", "localhost")
    ),
]

REFUSED: list[tuple[Any, object, str]] = [
    (values.Seconds, "soon", "wants seconds, or a time such as 10m or 1h30m; found 'soon'"),
    (values.Seconds, "-1", "found '-1'"),
    (values.Seconds, "10 m 5", "found '10 m 5'"),
    (values.Seconds, float("nan"), "found nan"),
    (values.Seconds, float("inf"), "found inf"),
    (values.Seconds, True, "found true"),
    (values.Seconds, "9" * 300, "wants seconds"),
    (values.Seconds, None, "found nothing"),
    (values.SomeSeconds, "0", "wants more than 0 seconds"),
    (values.Size, "1.5", "wants bytes"),
    (values.Size, "-5MiB", "wants bytes"),
    (values.Size, "5 parsec", "wants bytes"),
    (values.Size, True, "found true"),
    (values.Share, "120%", "wants a share from 0 to 1"),
    (values.Flag, "maybe", "wants true or false; found 'maybe'"),
    (values.Flag, 2, "found 2"),
    (values.Count, True, "found true"),
    (values.Count, "1.5", "wants a whole number, 0 or more; found '1.5'"),
    (values.Amount, "1e999", "wants a number, 0 or more; found '1e999'"),
    (values.Port, 65536, "wants a whole number from 0 to 65535; found 65536"),
    (values.Word, 5, "wants text; found a number"),
    (values.Word, "a\nb", "without control characters"),
    (values.Word, "", "not empty"),
    (addresses.Methods, "PUT", "wants GET, HEAD or POST"),
    (addresses.Methods, [], "wants at least one"),
    (addresses.Networks, ["10.0.0.1/8"], "did you mean 10.0.0.0/8?"),
    (addresses.Networks, ["localhost"], "wants a network such as 10.0.0.0/8; found 'localhost'"),
    (addresses.UpstreamUrls, "localhost:8080", "wants http://host:port or https://host/base"),
    (addresses.UpstreamUrls, "ftp://h", "found 'ftp://h'"),
    (addresses.UpstreamUrls, "http://h:99999", "found 'http://h:99999'"),
    (addresses.UpstreamUrls, "http://h/a?b=c", "wants no query"),
    (addresses.UpstreamUrls, "http://h/a/../b", "without . and .."),
    (addresses.UpstreamUrls, "http://", "wants http://host:port"),
    (addresses.FieldValue, "\u20ac", "wants characters that a header can hold"),
    (addresses.AddedFieldName, "Transfer-Encoding", "set by the gateway itself"),
    (addresses.AddedFieldName, "Host", "set by the gateway itself"),
    (addresses.FieldName, "x y", "wants the name of a header"),
    (addresses.KeyPrefix, "a{b}", "none of * ? [ ] { }"),
    (addresses.KeyPrefix, "a*", "none of * ? [ ] { }"),
    (addresses.PathPrefix, "/", "wants a path such as /cache"),
    (addresses.PathPrefix, "cache", "wants a path such as /cache"),
    (addresses.Pseudonym, "a b", "wants a name without spaces"),
    (addresses.UpstreamUrls, "http://h/?api_key=hunter2", "found 'http://h/?***'"),
    (addresses.UpstreamUrls, "h?api_key=hunter2", "found 'h?***'"),
    (addresses.UpstreamUrls, "http://h/\nx", "found 'http://h/\\nx'"),
    (addresses.ListeningHost, "0.0.0.0:80", "without a port; found '0.0.0.0:80'"),
    (addresses.ListeningHost, "[::1]", "without a port; found '[::1]'"),
    (addresses.ListeningHost, "http://a", "wants an address"),
    (addresses.RedisHost, "redis://user:secret@h:6379", "alone: a port belongs in redis.port, a URL in redis.url"),
    (addresses.RedisHost, "127.0.0.1:6379", "wants a host name or address alone"),
    (addresses.Token, "short", "wants a token of 8 to 512 visible ASCII characters"),
    (addresses.Token, "x" * 513, "wants a token of 8 to 512 visible ASCII characters"),
    (addresses.Token, "with a space", "without spaces"),
    (values.Count, "99999999999999999999", "wants at most 9223372036854775807; found '99999999999999999999'"),
    (values.Count, 2**63, "wants at most"),
    (values.Size, "99999999999 GiB", "wants at most 9223372036854775807 bytes"),
    (values.Word, "a\x1b[31m\u2028b", "found 'a\\x1b[31m\\u2028b'"),
]


@pytest.mark.parametrize(("kind", "given", "wanted"), TAKEN)
def test_taken(kind: Any, given: object, wanted: object) -> None:
    assert TypeAdapter(kind).validate_python(given) == wanted


@pytest.mark.parametrize(("kind", "given", "said"), REFUSED)
def test_refused(kind: Any, given: object, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(given)
    assert said in str(caught.value.errors()[0]["ctx"]["error"])


def test_ttl_presets() -> None:
    wanted = {"user": 300, "chat": 180, "messages": 120, "documents": 60, "document_stats": 30}
    assert wanted == TTL_PRESETS
    assert {name: TypeAdapter(Ttl).validate_python(name) for name in wanted} == wanted
    assert TypeAdapter(Ttl).validate_python("10m") == 600
    with pytest.raises(ValidationError, match="did you mean 'messages'"):
        TypeAdapter(Ttl).validate_python("message")
