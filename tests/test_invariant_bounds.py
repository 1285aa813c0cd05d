"""Everything that grows is capped (invariant 11): after a flood of what strangers can make up, all that the gateway
counts and keeps is as many as before, or as many as its setting says. What a flood does to the memory of a process is
in test_rows_capacity, the limits of a connection in test_limits."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.gateway import Client, running
from tests.support.origin import Origin, Recorded
from tests.support.rawtcp import raw

DISK = 256 << 10
SMALL: dict[str, Any] = {
    "rules": [
        {"name": "a", "pattern": "/a/*", "ttl": 60, "tags": ["t:{query.q}"], "key": {"headers": ["x-key"]}},
        {"name": "post", "pattern": "/post/*", "methods": ["POST"], "ttl": 60},
    ],
    "file": {"max_bytes": DISK},
    "limits": {"variants": 4, "tags": 4},
    "journal": {"records": 32},
}


def odd(number: int) -> list[str]:
    """Requests that nobody else makes."""
    return [
        f"GET /a/{number}?q={number} HTTP/1.1\r\nHost: site.example\r\nX-Key: {number}\r\nX-Request-Id: id{number}\r\n",
        f"GET /{number}?{number} HTTP/1.1\r\nHost: host-{number}.example\r\nUser-Agent: {number}\r\nX-{number}: 1\r\n",
        f"GET /vary HTTP/1.1\r\nHost: site.example\r\nX-Vary: {number}\r\nCookie: c{number}={number}\r\n",
        f"GET /vary HTTP/1.1\r\nHost: site.example\r\nX-Vary: {number}\r\nRange: bytes={number}-\r\n",
        f"METHOD-{number:05} /{number} HTTP/1.1\r\nHost: site.example\r\n".replace("0", "Z").replace(
            "HTTP/1.1", "HTTP/1.1"
        ),
        f"POST /post/{number} HTTP/1.1\r\nHost: site.example\r\nContent-Length: 0\r\nContent-Type: x/{number}\r\n",
        f"DELETE /{number} HTTP/1.1\r\nHost: site.example\r\n",
        f"GET /no-store/{number} HTTP/1.1\r\nHost: site.example\r\nAuthorization: Bearer {number}\r\n",
        f"GET /b{number} HTTP/1.1\r\nHost: bad host {number}\r\n",
        f"PURGE /{number} HTTP/1.1\r\nHost: site.example\r\n",
    ]


async def flood(gateway: Client, numbers: range) -> None:
    async def one(number: int) -> None:
        for request in odd(number):
            async with raw(gateway.port) as client:
                await client.send(request.encode() + b"\r\n")
                await client.response()

    for start in range(numbers.start, numbers.stop, 20):
        await asyncio.gather(*map(one, range(start, min(start + 20, numbers.stop))))
    await gateway.settled()


def answered(request: Recorded) -> bytes:
    return request.raw[:200]


@pytest.mark.slow
@pytest.mark.parametrize(("entries", "size"), [(40, 1 << 20), (1000, 40 << 10)], ids=["by-entries", "by-bytes"])
async def test_a_flood_of_what_can_be_made_up_leaves_no_more_than_before(entries: int, size: int) -> None:
    memory = {"memory": {"max_entries": entries, "max_bytes": size}}
    async with Origin() as origin, running(origin, SMALL | memory) as gateway:
        tags = ",".join(f"tag{number}" for number in range(200))
        origin.otherwise([("Cache-Control", "max-age=60"), ("Vary", "X-Vary"), ("Cache-Tag", tags)], answered)
        await flood(gateway, range(40))
        before = await counted(gateway)
        await flood(gateway, range(40, 110))
        after = await counted(gateway)
        assert after["series"] == before["series"]  # labels are of closed vocabularies
        assert after["memory"] <= entries
        assert after["bytes"] <= size
        assert after["disk"] <= DISK
        assert after["variants"] <= SMALL["limits"]["variants"]
        assert after["tags"] <= SMALL["limits"]["tags"]
        assert (after["in flight"], after["tasks"], after["flights"]) == (0, 0, 0)
        assert after["records"] <= before["records"] + 2  # a sixteenth more for a while


async def counted(gateway: Client) -> Mapping[str, int]:
    metrics = (await gateway.admin("GET", "/metrics")).body.decode()
    entries = (await gateway.admin("GET", "/entries?limit=1000")).json["entries"]
    stats, journal = await gateway.stats(), gateway.gateway._place.log
    of_one = [sum(one["key"].startswith(entry["key"][:64]) for one in entries) for entry in entries]
    return {
        "series": sum(not line.startswith("#") for line in metrics.splitlines()),
        "memory": stats["memory"]["size"],
        "bytes": stats["memory"]["bytes"],
        "disk": stats["file"]["bytes"],
        "variants": max(of_one),
        "tags": max(len(entry["tags"]) for entry in entries),
        "in flight": stats["inFlight"],
        "tasks": len(gateway.gateway.tasks),
        "flights": len(gateway.gateway.story.flying.flights),
        "records": len(journal.journal.compacted()),
    }
