"""Entries for tests: a builder with everything filled in, hypothesis strategies, and stores to put them in."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import replace

from hypothesis import strategies as st

from proxy.entry import NOWHERE, Body, BytesBody, Entry, KeyParts, Pairs, Position, Scope, Select, Variant
from proxy.errors import StoreError
from proxy.message import Fields
from proxy.policy.variants import as_variant

NOW = 1_700_000_000.0


def key_parts(path: str = "/a") -> KeyParts:
    return KeyParts(Scope("http://origin:80", "", "http", "GET", "example.com"), path)


def entry(
    path: str = "/a",
    body: bytes | Body = b"content",
    *,
    vary: Pairs = (),
    received_at: float = NOW,
    keep_until: float = NOW + 3600,
    fence: int = 0,
    position: Position = NOWHERE,
    **changes: object,
) -> Entry:
    parts = key_parts(path)
    plain = Entry(
        hash=parts.digest(),
        parts=parts,
        status=200,
        phrase="OK",
        fields=Fields.of(("Content-Type", "text/plain"), ("ETag", '"1"')),
        requested_at=received_at - 0.1,
        received_at=received_at,
        keep_until=keep_until,
        body=BytesBody(body) if isinstance(body, bytes) else body,
        vary=vary,
        fence=fence,
        position=position,
    )
    return replace(plain, **changes) if changes else plain  # type: ignore[arg-type]


def language(value: str) -> Pairs:
    return (("accept-language", value),)


def pick(vary: Pairs) -> Select:
    """A Select that wants exactly these request values."""

    def select(variants: Iterable[Variant]) -> str | None:
        return next((variant.id for variant in variants if variant.vary == vary), None)

    return select


async def content(found: Entry, start: int = 0, end: int | None = None) -> bytes:
    """The bytes of a body, which is closed."""
    try:
        return b"".join([chunk async for chunk in found.body.read(start, end)])
    finally:
        found.body.close()


class FakeClock:
    """Seconds that pass when told to."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class DictStore:
    """The smallest Store a user could write."""

    def __init__(self, *, fail: bool = False) -> None:
        self.kept: dict[str, dict[str, Entry]] = {}
        self.fail = fail

    def _check(self) -> None:
        if self.fail:
            raise StoreError("out of order")

    async def get(self, hash: str, select: Select) -> Entry | None:
        self._check()
        shelf = self.kept.get(hash)
        if not shelf:
            return None
        wanted = select([as_variant(e) for e in shelf.values()])
        return shelf.get(wanted) if wanted is not None else None

    async def put(self, entry: Entry) -> bool:
        self._check()
        held = self.kept.get(entry.hash, {}).get(entry.variant)
        if held is not None and held.fence > entry.fence:
            return False
        if entry.keep_until <= NOW:
            return False
        data = b"".join([chunk async for chunk in entry.body.read()])
        self.kept.setdefault(entry.hash, {})[entry.variant] = replace(entry, body=BytesBody(data))
        return True

    async def delete(self, key: str) -> int:
        self._check()
        name, _, variant = key.partition(".")
        if variant:
            return int(self.kept.get(name, {}).pop(variant, None) is not None)
        return len(self.kept.pop(name, {}))

    async def scan(self) -> AsyncIterator[Entry]:
        self._check()
        for shelf in list(self.kept.values()):
            for one in list(shelf.values()):
                yield one

    async def clear(self) -> int:
        self._check()
        count = sum(map(len, self.kept.values()))
        self.kept.clear()
        return count

    async def close(self) -> None:
        self._check()


# strategies

latin = st.text(st.characters(max_codepoint=255), max_size=20)
header_bytes = st.binary(max_size=30)
pairs = st.lists(st.tuples(latin, latin), max_size=4).map(tuple)
times = st.floats(min_value=0, max_value=2**32, allow_nan=False)
counts = st.integers(min_value=0, max_value=2**62)
fields = st.lists(st.tuples(header_bytes, header_bytes), max_size=6).map(Fields)
parts = st.builds(
    KeyParts,
    scope=st.builds(Scope, latin, latin, st.sampled_from(["http", "https"]), st.sampled_from(["GET", "POST"]), latin),
    path=latin,
    query=st.none() | latin,
    body=latin,
    selected=pairs,
)


@st.composite
def entries(draw: st.DrawFn, body: st.SearchStrategy[bytes] | None = None) -> Entry:
    """Any entry a gateway could make, and some it could not."""
    its = draw(parts)
    return Entry(
        hash=its.digest(),
        parts=its,
        status=draw(st.integers(100, 999)),
        phrase=draw(latin),
        fields=draw(fields),
        requested_at=draw(times),
        received_at=draw(times),
        keep_until=draw(times | st.just(float("inf"))),
        body=BytesBody(draw(body or st.binary(max_size=300))),
        vary=draw(pairs),
        rule=draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=10)),
        tags=tuple(draw(st.lists(latin, max_size=4))),
        position=draw(st.builds(Position, counts, counts, counts)),
        fence=draw(st.integers(0, 2**64 - 1)),
    )
