"""What is matched, keyed and sent upstream are the same (invariant 6): whatever a stranger adds to a request or however
he spells it, an origin that believes all of it gives him alone the answer to that."""

import re
from typing import Any
from urllib.parse import unquote

import pytest

from tests.support.gateway import running
from tests.support.origin import Origin, Recorded
from tests.support.rawtcp import raw

RULE = {"name": "page", "pattern": "/page/*", "ttl": 60, "key": {"query": {"ignore": ["utm_*"]}}}
OVERRIDES = ("x-http-method-override", "x-http-method", "x-method-override")
CLAIMS = re.findall(
    r"\S+",
    """
    forwarded-for x-forwarded x-forwarded-for x-forwarded-host x-forwarded-proto x-forwarded-scheme
    x-forwarded-port x-forwarded-prefix x-forwarded-server x-forwarded-uri x-forwarded-ssl x-forwarded-by
    x-forwarded-user x-forwarded-anything x-host x-host-override x-http-host-override x-original-host
    base-url request-uri x-accel-redirect x-backend-host x-forwarded.host x-http-destinationurl x-http-path-override
    x-proxyuser-ip x-waws-unencoded-url
    x-original-url x-original-uri x-original-method x-rewrite-url x-rewrite-uri x-real-ip x-client-ip client-ip
    true-client-ip x-cluster-client-ip cf-connecting-ip fastly-client-ip front-end-https x-url-scheme proxy
    forwarded path-info script-name""",
)


def believing(request: Recorded) -> bytes:
    """The origin at its most gullible: it decodes twice, follows dots, takes ";" for "&" and "_" for "-", reads any
    claim and any override, the body of a GET, and answers by all that. What we say of the client is left out."""
    claimed = {name.decode().lower().replace("_", "-"): value for name, value in request.pairs}
    method = next((claimed[name].decode() for name in OVERRIDES if name in claimed), request.method)
    said = sorted((name, value) for name, value in claimed.items() if name in CLAIMS and b"evil" in value)
    path, _, query = request.target.partition("?")
    path = re.sub(r";[^/]*|\0.*", "", unquote(unquote(path, "latin-1"), "latin-1").replace("\\", "/"))
    while (shorter := re.sub(r"//+|/\.(?=/|$)|(?<!^)/[^/]+/\.\.(?=/|$)", "/" if "//" in path else "", path)) != path:
        path = shorter
    parameters = sorted(re.split("[&;]", query)) if query else []
    return repr((method, path, parameters, said, request.body)).encode()


def asks(target: str, *fields: str, body: str = "") -> bytes:
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: shop.example", *fields, "", body]).encode("latin-1")


SPELLINGS = [
    "/x/../page/{}",
    "/page/./{}",
    "/page/x/../{}",
    "/page//{}",
    "/page/{};x",
    "/page/{}%00",
    "/page/x/%2e%2e/{}",
]
SPELLINGS += ["/page/x/%252e%252e/{}", "/page/x%2f..%2f{}", "/page\\{}", "/page%5c{}", "/page%2f{}", "/%70age/{}"]
SPELLINGS += ["/page/{}?", "/page/{}?&", "/page/{}?utm_x=1", "/page/{}?%75tm_x=1", "/page/{}?utm_x=1;evil=1"]
SPELLINGS += [
    "/page/{}?evil=1;utm_x=1",
    "/page/{}%3Fevil=1",
    "http://shop.example/page/{}",
    "http://shop.example:80/page/{}",
]
ATTACKS = [asks(spelling) for spelling in SPELLINGS]
ATTACKS += [asks("/page/{}", f"{name}: evil") for name in CLAIMS]
ATTACKS += [asks("/page/{}", f"{name.replace('-', '_')}: evil") for name in CLAIMS]
ATTACKS += [asks("/page/{}", f"Connection: {name}", f"{name}: evil") for name in CLAIMS]
ATTACKS += [asks("/page/{}", f"{name}: DELETE") for name in OVERRIDES]
ATTACKS += [asks("/page/{}", f"{name.replace('-', '_')}: DELETE") for name in OVERRIDES]
ATTACKS += [asks("/page/{}", "Content-Length: 4", body="evil")]
ATTACKS += [asks("/page/{}", "Transfer-Encoding: chunked", body="4\r\nevil\r\n0\r\n\r\n")]
ATTACKS += [asks("/page/{}", "Content-Length: 6", "Content-Type: application/x-www-form-urlencoded", body="evil=1")]


@pytest.mark.parametrize("rules", [[RULE], []], ids=["by a rule", "unmatched"])
async def test_nobody_chooses_what_others_get(rules: list[Any]) -> None:
    async with Origin() as origin, running(origin, {"rules": rules}) as gateway:
        origin.otherwise([("Cache-Control", "max-age=60")], believing)
        poisoned, kept = [], 0
        for number, attack in enumerate(ATTACKS):
            async with raw(gateway.port) as stranger:
                await stranger.send(attack.replace(b"{}", b"%d" % number))
                await stranger.response()
            await gateway.settled()
            async with raw(gateway.port) as victim:
                got = await victim.get(f"/page/{number}", host="shop.example")
            await gateway.settled()
            kept += got.header("x-cache") == "HIT"
            if got.body != repr(("GET", f"/page/{number}", [], [], b"")).encode():
                poisoned.append((attack.replace(b"{}", b"%d" % number), got.body))
        assert poisoned == []
        assert kept > len(CLAIMS)  # most were stored, as the plain request that they were made


ELSEWHERE = ["/page/../me", "/page/x/../../me", "/page//../me", "/page/%2e%2e/me", "/page/.%2E/me"]
ELSEWHERE += ["/page/%252e%252e/me"]
ELSEWHERE += ["/page/..%2fme", "/page/..%252fme", "/page/..\\me", "/page/..%5cme", "/page/..;/me", "/page/..%00/me"]
ELSEWHERE += ["/page/%c0%ae%c0%ae/me", "/page/..%c0%afme", "/page/%2e%2e%2fme"]
ELSEWHERE += ["/page/..", "/page/%2E%2e"]


async def test_no_rule_keeps_for_all_what_an_origin_finds_elsewhere() -> None:
    """Web cache deception: somebody is made to follow a link that our rule takes for a page, and his origin for what
    is his."""
    async with Origin() as origin, running(origin, {"rules": [RULE]}) as gateway, raw(gateway.port) as client:
        origin.otherwise([("Cache-Control", "max-age=60")], lambda request: b"of one person")
        for number, target in enumerate(ELSEWHERE, 1):
            got = [await client.get(target) for _ in range(2)]
            await gateway.settled()
            assert [each.header("x-cache") for each in got] == ["BYPASS"] * 2, target
            assert (origin.count(), origin.last.target) == (2 * number, target)  # and it is sent as it came
