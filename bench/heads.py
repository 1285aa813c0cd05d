"""What the load asks: heads as browsers and services send them, made before the clock runs, the same in every run."""

import random
from collections.abc import Iterator

PATHS = 1_000
RING = 10_000  # heads until the first comes again: each path meets each user agent twice
HOST = "api.bench.example"
AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605",
    "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "okhttp/5.1.0",
    "python-httpx/0.28.1",
)


def target(number: int, size: str = "1k") -> str:
    """A path with a query of three parameters; `size` is a place of the origin (see `bench.origin`)."""
    return f"/{size}/users/{number}/orders?page={number % 7 + 1}&sort=created&fields=id%2Cname%2Ctotal"


def head(what: str, *lines: str, method: str = "GET", agent: str = AGENTS[0], marks: random.Random) -> bytes:
    """One whole request without a body. `marks` makes the ids that no two requests share."""
    trace = f"00-{marks.getrandbits(128):032x}-{marks.getrandbits(64):016x}-01"
    said = (
        f"{method} {what} HTTP/1.1",
        f"Host: {HOST}",
        f"User-Agent: {agent}",
        "Accept: application/json",
        "Accept-Encoding: gzip, deflate, br",
        f"X-Request-Id: {marks.getrandbits(128):032x}",
        f"Traceparent: {trace}",
        *lines,
    )
    return "\r\n".join((*said, "", "")).encode()


def varied(*lines: str, method: str = "GET", size: str = "1k", paths: int = PATHS) -> tuple[bytes, ...]:
    """A ring in which every head is another one, in an order that follows nothing."""
    marks = random.Random(7)
    made = [head(target(n % paths, size), *lines, method=method, agent=AGENTS[n // paths % 5], marks=marks)
            for n in range(RING)]  # fmt: skip
    marks.shuffle(made)
    return tuple(made)


def identical() -> tuple[bytes, ...]:
    """One head, again and again."""
    return (head(target(0), marks=random.Random(7)),)


def counted(size: str = "1k") -> tuple[bytes, ...]:
    """What stands before and after a number that makes a path which nobody has asked for."""
    before, after = head(target(0, size).replace("/users/0/", "/users/N/", 1), marks=random.Random(7)).split(b"N", 1)
    return before, after


def each_path(size: str = "1k", paths: int = PATHS) -> Iterator[bytes]:
    """A head for every path once, to fill a cache with."""
    marks = random.Random(3)
    return (head(target(number, size), marks=marks) for number in range(paths))
