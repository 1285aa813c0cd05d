"""Where Redis is, by its URL (contract: redis.url), and the names of our keys there (contract "Keys")."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.redis.address import Address, Mode
from proxy.redis.keys import EntryKey, Names

H = "ab" * 32

GOOD = [
    ("redis://localhost", Address(nodes=(("localhost", 6379),))),
    ("redis://h:7000/3", Address(nodes=(("h", 7000),), db=3)),
    ("redis://:@h/", Address(nodes=(("h", 6379),))),
    ("redis://:s%40cret@h", Address(nodes=(("h", 6379),), password="s@cret")),
    ("redis://me:pw@[::1]:6380?db=2", Address(nodes=(("::1", 6380),), username="me", password="pw", db=2)),
    ("rediss://h?ca_file=/ca.pem&verify=no", Address(nodes=(("h", 6379),), tls=True, ca_file="/ca.pem", verify=False)),
    ("unix:///run/my%20redis.sock?db=1", Address(mode=Mode.SINGLE, unix="/run/my redis.sock", db=1)),
    ("unix://me:pw@/r.sock", Address(mode=Mode.SINGLE, unix="/r.sock", username="me", password="pw")),
    (
        "redis+sentinel://a,b:1,c/prime/4?sentinel_password=x&tls=1",
        Address(
            mode=Mode.SENTINEL,
            nodes=(("a", 26379), ("b", 1), ("c", 26379)),
            service="prime",
            db=4,
            tls=True,
            sentinel_password="x",
        ),
    ),
    (
        "redis+cluster://u:p@a:7001,b?replicas=true",
        Address(mode=Mode.CLUSTER, nodes=(("a", 7001), ("b", 6379)), username="u", password="p", replicas=True),
    ),
]

BAD = [
    ("http://h", "begins with one of"),
    ("redis://", "host:port"),
    ("redis://h:0", "host:port"),
    ("redis://h:99999", "host:port"),
    ("redis://a,b", "redis+cluster://"),
    ("redis://h/x", "number of a database"),
    ("redis://h/1/2", "nothing behind"),
    ("redis://h?dbb=1", "unknown option"),
    ("redis://h?verify=perhaps", "verify=true"),
    ("redis+sentinel://h", "name of the service"),
    ("redis+cluster://h/2", "only db 0"),
    ("unix://", "path of a socket"),
]


@pytest.mark.parametrize(("url", "address"), GOOD)
def test_urls(url: str, address: Address) -> None:
    assert Address.parse(url) == address


@pytest.mark.parametrize(("url", "said"), BAD)
def test_urls_that_are_refused(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("+", r"\+")):
        Address.parse(url)


@given(st.text(), st.text(min_size=8))
def test_no_error_and_no_address_shows_a_password(rest: str, password: str) -> None:
    secret = "".join(format(byte, "02x") for byte in password.encode("utf-8", "surrogatepass"))
    try:
        address = Address.parse(f"redis://me:{secret}@{rest}")
        shown = f"{address} {address!r}"
    except ValueError as error:
        shown = str(error)
    assert secret not in shown


def test_addresses_for_people() -> None:
    assert [str(Address.parse(url)) for url, _ in GOOD] == [
        "redis://localhost:6379/0",
        "redis://h:7000/3",
        "redis://h:6379/0",
        "redis://h:6379/0",
        "redis://[::1]:6380/2",
        "rediss://h:6379/0",
        "unix:///run/my redis.sock",
        "unix:///r.sock",
        "redis+sentinel://a:26379,b:1,c:26379/prime",
        "redis+cluster://a:7001,b:6379",
    ]


def test_the_names_of_keys() -> None:
    names = Names("proxy:cache:")
    assert [names.entry(H), names.entry(f"{H}.{'0' * 16}"), names.index(H), names.lease(H), names.stream] == [
        f"proxy:cache:e:{{{H}}}",
        f"proxy:cache:e:{{{H}}}.{'0' * 16}",
        f"proxy:cache:v:{{{H}}}",
        f"proxy:cache:l:{{{H}}}",
        "proxy:cache:j:{journal}",
    ]


def test_whose_record_a_key_holds() -> None:
    names = Names("p:")
    assert names.parse_entry(names.entry(H).encode()) == EntryKey(H, "")
    varied = names.parse_entry(names.entry(f"{H}.{'0' * 16}").encode())
    assert varied is not None
    assert varied.name == f"{H}.{'0' * 16}"
    for other in (names.index(H), "p:e:x", f"q:e:{{{H}}}", names.entry(H) + ".1", "\xff"):
        assert names.parse_entry(other.encode("latin-1")) is None
