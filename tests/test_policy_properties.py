"""Over generated header sets: never store what a MUST NOT forbids, never serve beyond a lifetime, age never falls,
no user's answer for another (RFC 9111 3, 3.5, 4, 4.2.3, 4.2.4, 5.2.2)."""

from dataclasses import dataclass, replace

from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from proxy.entry import BytesBody, Entry, Found, KeyParts, Scope, Variant
from proxy.message import Fields, Framing, Head, Request
from proxy.outcome import Tier
from proxy.policy.cache_control import for_shared_cache
from proxy.policy.freshness import current_age, lifetime, windows
from proxy.policy.renewal import Renewed, judge_renewal
from proxy.policy.reuse import Choice, Fetch, Serve, ServeStale, judge_reuse
from proxy.policy.storing import Keep, Skip, judge_storing
from proxy.policy.vary import vary_names
from proxy.reasons import Why
from proxy.rules import Mode, Rule
from tests.support.judged import ORIGIN, T, Told, date, get, ruled

OFFSETS = st.sampled_from([-(10**6), -3600, -60, -1, 0, 1, 30, 60, 3600])
DATES = OFFSETS.map(date) | st.sampled_from(["0", "soon", ""])
NUMBERS = st.sampled_from(["0", "1", "30", "60", "99999999999", "x", '"60"', "-1", ""])
NAMED = st.sampled_from(["no-store", "no-cache", "private", "public", "must-revalidate", "proxy-revalidate"])
OTHER = st.sampled_from(["must-understand", "immutable", 'private="a"', "foo", 'bar="no-store"', "NO-STORE"])
SECONDS = st.sampled_from(["max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"])
DIRECTIVE = NAMED | OTHER | st.tuples(SECONDS, NUMBERS).map("=".join)
CONTROL = st.lists(DIRECTIVE, min_size=1, max_size=4).map(", ".join)

ANSWER_FIELDS: st.SearchStrategy[list[Told]] = st.lists(
    st.tuples(st.just("Cache-Control"), CONTROL)
    | st.tuples(st.sampled_from(["CDN-Cache-Control", "Cachegate-Cache-Control"]), CONTROL)
    | st.tuples(st.sampled_from(["Date", "Expires", "Last-Modified"]), DATES)
    | st.tuples(st.just("Age"), NUMBERS)
    | st.tuples(st.just("ETag"), st.sampled_from(['"a"', 'W/"a"', "a"]))
    | st.tuples(st.just("Vary"), st.sampled_from(["*", "Foo", "Accept-Language, Authorization", "Foo, *"]))
    | st.tuples(st.just("Set-Cookie"), st.just("sid=1"))
    | st.tuples(st.just("Content-Length"), st.sampled_from(["0", "5", "5000"])),
    max_size=7,
)
REQUEST_FIELDS: st.SearchStrategy[list[Told]] = st.lists(
    st.tuples(st.sampled_from(["Authorization", "X-Api-Key", "Cookie"]), st.sampled_from(["1", "2"]))
    | st.tuples(st.sampled_from(["Foo", "Accept-Language"]), st.sampled_from(["a", "b", "a, b"]))
    | st.tuples(
        st.just("Cache-Control"), st.sampled_from(["no-store", "no-cache", "max-age=5", "min-fresh=9", "max-stale=9"])
    ),
    max_size=4,
)
STATUSES = st.sampled_from([103, 200, 203, 204, 206, 301, 302, 304, 404, 410, 412, 418, 451, 500, 503, 599])
RULES = st.builds(
    ruled,
    mode=st.sampled_from([Mode.ON, Mode.ORIGIN]),
    ttl=st.sampled_from([None, 0.0, 60.0]),
    override=st.booleans(),
    credentials=st.sampled_from(["refuse", "refuse", "key", "ignore"]),
    cookies=st.sampled_from([None, None, (), ("sid",)]),
    stale_while_revalidate=st.sampled_from([None, 0.0, 30.0]),
    stale_if_error=st.sampled_from([None, 0.0, 90.0]),
    negative_ttl=st.sampled_from([(), ((404, 10.0),)]),
    client_directives=st.sampled_from(["honour", "ignore", "all"]),
    store_set_cookie=st.booleans(),
    store_private=st.booleans(),
)
HEADS = st.builds(
    lambda fields, status, framing, took: Head(status, "", Fields.of(*fields), framing, T - took, T),
    ANSWER_FIELDS,
    STATUSES,
    st.sampled_from(Framing),
    st.sampled_from([0.0, 0.5, 5.0]),
)
REQUESTS = st.builds(lambda fields, trusted: get(*fields, trusted=trusted), REQUEST_FIELDS, st.booleans())
LATER = st.sampled_from([0.0, 1.0, 29.5, 60.0, 61.0, 120.0, 1e6]) | st.floats(0, 4000)
CREDENTIALS = ("authorization", "x-api-key")


def entry_of(head: Head, keep: Keep | None = None) -> Entry:
    parts = KeyParts(Scope("u", "", "http", "GET", "api.example.com"), "/")
    vary = keep.vary if keep is not None else ()
    times = (head.requested_at, head.received_at, T + 1e9)
    return Entry("0" * 64, parts, head.status, "", head.fields, *times, BytesBody(b""), vary)


@given(REQUESTS, HEADS, RULES)
def test_never_stores_what_a_must_not_forbids(request: Request, head: Head, rule: Rule) -> None:
    judged = judge_storing(request, head, rule, T)
    if not isinstance(judged, Keep):
        return
    said = for_shared_cache(head.fields)
    assert head.status >= 200
    assert head.status not in (206, 304)
    assert not said.no_store or said.must_understand
    assert not said.private or rule.store_private
    assert said.withheld <= judged.withheld
    assert not (said.must_understand and head.status == 599)
    assert vary_names(head.fields) is not None
    assert head.framing is not Framing.CLOSE
    assert "set-cookie" not in head.fields or (said.public and rule.store_set_cookie)
    assert "no-store" not in (request.fields.get("cache-control") or "") or rule.client_directives == "ignore"
    if rule.key.credentials == "refuse" and any(name in request.fields for name in CREDENTIALS):
        assert said.public or said.s_maxage is not None or said.must_revalidate
    life = lifetime(head.fields, head.status, rule, T)
    assert life.source != "none" or "etag" in head.fields or "last-modified" in head.fields
    assert judged.lifetime <= max(0.0, life.seconds)
    assert judged.keep_until >= T + judged.lifetime


@given(REQUESTS, HEADS, RULES, LATER, st.none() | st.sampled_from([T, T + 30, T + 1e7]))
def test_never_serves_beyond_a_lifetime(
    request: Request, head: Head, rule: Rule, later: float, ended_at: float | None
) -> None:
    entry, now = entry_of(head), T + later
    judged = judge_reuse(request, Found(entry, Tier.MEMORY, ended_at), rule, now)
    life = lifetime(entry.fields, entry.status, rule, entry.received_at)
    left = life.seconds - current_age(entry, now)
    left = left if ended_at is None else min(left, ended_at - now)
    match judged:
        case Serve(why=Why.FRESH):
            assert left > 0
            assert judged.ttl <= left  # by the origin's word alone it may be less
        case Serve(why=Why.MAX_STALE):
            assert "max-stale" in (request.fields.get("cache-control") or "")
            assert not life.never_stale
        case ServeStale():
            assert -judged.ttl < windows(life, rule).while_revalidate
            assert not life.never_stale
        case Fetch(fallback=True):
            assert judged.ttl > 0 or not life.never_stale
        case _:
            pass


@given(HEADS, st.lists(LATER, min_size=2, max_size=5))
def test_age_never_falls(head: Head, moments: list[float]) -> None:
    entry = entry_of(head)
    ages = [current_age(entry, T + later) for later in sorted(moments)]
    assert ages == sorted(ages)
    assert ages[0] >= 0


@given(HEADS, LATER, st.floats(-(10**6), 0))
def test_age_never_falls_below_what_it_came_with(head: Head, later: float, back: float) -> None:
    """Whatever the clock does, and from one cache to the next, but for the part of a second that Age cannot say."""
    entry = entry_of(head)
    came_with = head.received_at - head.requested_at
    assert current_age(entry, T + back) == current_age(entry, T) >= came_with
    passed_on = [*head.fields.without({"age"}).pairs, (b"Age", b"%d" % current_age(entry, T + later))]
    next_cache = replace(entry, fields=Fields(passed_on), requested_at=T + later, received_at=T + later)
    assert current_age(next_cache, T + later) > min(current_age(entry, T + later), 2**31) - 1


@given(HEADS, RULES, LATER, LATER)
def test_what_is_stale_stays_stale(head: Head, rule: Rule, sooner: float, later: float) -> None:
    assume(sooner <= later)
    found = Found(entry_of(head), Tier.MEMORY)
    first, second = (judge_reuse(get(), found, rule, T + at) for at in (sooner, later))
    assert not isinstance(second, Serve) or isinstance(first, Serve)


@given(HEADS, RULES, st.sampled_from(["Authorization", "X-Api-Key"]), LATER)
def test_nobody_is_served_what_anothers_credentials_brought(head: Head, rule: Rule, name: str, later: float) -> None:
    """Under `refuse`, unless the origin itself said that everybody may have it (RFC 9111 3.5)."""
    rule = replace(rule, key=replace(rule.key, credentials="refuse"))
    alice, bob = get((name, "alice")), get((name, "bob"))
    keep = judge_storing(alice, head, rule, T)
    if not isinstance(keep, Keep):
        return
    said = for_shared_cache(head.fields)
    entry = entry_of(head, keep)
    for other in (bob, get()):
        if Choice(other, rule)([Variant(entry.variant, entry.vary, T)]) is None:
            continue
        judged = judge_reuse(other, Found(entry, Tier.MEMORY), rule, T + later)
        if isinstance(judged, Serve | ServeStale) or judged.conditional or judged.fallback:
            assert said.public or said.s_maxage is not None or (said.must_revalidate and lifetime_of(head) > 0)


def lifetime_of(head: Head) -> float:
    """By the origin's word alone."""
    return lifetime(head.fields, head.status, Rule(), T, own=True).seconds


@given(HEADS, RULES, LATER)
def test_nobody_is_served_what_anothers_cookie_brought(head: Head, rule: Rule, later: float) -> None:
    rule = replace(rule, key=replace(rule.key, cookies=None))
    keep = judge_storing(get(("Cookie", "sid=alice")), head, rule, T)
    if isinstance(keep, Keep):
        assert lifetime(head.fields, head.status, rule, T, own=True).shareable


@given(HEADS, HEADS, RULES)
def test_a_renewed_entry_keeps_its_place_and_no_ones_cookie(old: Head, new: Head, rule: Rule) -> None:
    entry = entry_of(replace(old, status=200, fields=old.fields.without({"set-cookie"})))
    renewal = judge_renewal(entry, replace(new, status=304), rule, T, fallback=False)
    if isinstance(renewal, Renewed):
        assert renewal.entry.key == entry.key
        assert "set-cookie" not in renewal.entry.fields
        assert renewal.entry.fields.lines("content-length") == entry.fields.lines("content-length")
        assert current_age(renewal.entry, T) >= 0


@given(REQUESTS, REQUESTS, HEADS, RULES)
def test_a_variant_is_chosen_only_for_equal_values(a: Request, b: Request, head: Head, rule: Rule) -> None:
    """RFC 9111 4.1, byte for byte for a field whose grammar is not known."""
    keep = judge_storing(a, head, rule, T)
    if isinstance(keep, Keep):
        choice = Choice(b, rule)([Variant("v", keep.vary, T)])
        names = vary_names(head.fields) or ()
        if choice is not None and "foo" in names:
            assert a.fields.get("foo") == b.fields.get("foo")
        if "authorization" in names and choice is not None:
            assert a.fields.get("authorization") == b.fields.get("authorization")


# -- against a model that was never text -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Model:
    """What an origin means; `lines` say it in one of the many ways that mean the same."""

    flags: frozenset[str]
    numbers: dict[str, int]
    expires: int | None  # seconds after Date; None: not said
    older: int  # seconds that Date lies before the arrival
    aged: int  # the Age that it came with
    took: float
    lines: tuple[Told, ...]

    @property
    def told(self) -> int | None:
        return self.numbers.get("s-maxage", self.numbers.get("max-age", self.expires))

    @property
    def lifetime(self) -> int:
        return 0 if "no-cache" in self.flags else self.told or 0

    def age(self, later: float) -> float:
        return max(self.older if self.older >= 2 else 0, self.aged + self.took) + later

    @property
    def strict(self) -> bool:
        return bool(self.flags & {"no-cache", "must-revalidate", "proxy-revalidate"}) or "s-maxage" in self.numbers


FLAGS = ("no-store", "no-cache", "private", "public", "must-revalidate", "proxy-revalidate")
NOISE = st.sampled_from(["", "foo", 'bar="no-store, max-age=9"', "baz=1", 'quux="\\""', "immutable"])
SMALL = st.sampled_from([0, 1, 30, 60, 600])


@st.composite
def models(draw: st.DrawFn) -> Model:
    flags = draw(st.just(frozenset()) | st.frozensets(st.sampled_from(FLAGS), max_size=2))
    numbers = draw(st.dictionaries(SECONDS, SMALL, max_size=3))
    expires = draw(st.none() | SMALL | st.just(-60))
    older, aged = draw(st.sampled_from([0, 1, 2, 45, -30])), draw(st.sampled_from([0, 0, 1, 40]))
    took = draw(st.sampled_from([0.0, 0.5, 5.0]))
    quoted = draw(st.booleans())
    said = [*flags, *(f'{name}="{number}"' if quoted else f"{name}={number}" for name, number in numbers.items())]
    members = draw(st.permutations([*said, *draw(st.lists(NOISE, max_size=2))]))
    cased = [draw(st.sampled_from([str, _upper_name]))(member) for member in members]
    cut = draw(st.integers(0, len(cased)))
    lines = [("Date", date(-older)), *([("Age", str(aged))] if aged else [])]
    lines += [
        ("Cache-Control", draw(st.sampled_from([",", ", ", " ,\t"])).join(part)) for part in (cased[:cut], cased[cut:])
    ]
    lines += [("Expires", date(expires - older))] if expires is not None else []
    return Model(flags, numbers, expires, older, aged, took, tuple(draw(st.permutations(lines))))


def _upper_name(member: str) -> str:
    name, equals, argument = member.partition("=")
    return name.upper() + equals + argument


EIGHTHS = st.integers(0, 8 * 1300).map(lambda n: n / 8) | st.sampled_from([0.0, 29.875, 30.0, 59.875, 60.0, 1e6])


@settings(max_examples=300)
@given(models(), EIGHTHS)
def test_served_exactly_as_long_as_was_meant(model: Model, later: float) -> None:
    """RFC 9111 3, 4.2, 4.2.1, 4.2.3, 4.2.4, 5.2.2; RFC 5861: no sooner over, and no longer."""
    head = Head(200, "", Fields.of(*model.lines), Framing.CHUNKED, T - model.took, T)
    judged = judge_storing(get(), head, ORIGIN, T)
    if model.flags & {"no-store", "private"}:
        assert isinstance(judged, Skip)
        return
    age, life = model.age(later), model.lifetime
    behind = 0 if model.strict or model.told is None else model.numbers.get("stale-while-revalidate", 0)
    on_error = 0 if model.strict else model.numbers.get("stale-if-error", ORIGIN.default_stale_if_error)
    match judge_reuse(get(), Found(entry_of(head), Tier.MEMORY), ORIGIN, T + later):
        case Serve(age=told):
            assert (told, age < life) == (age, True)
            event("fresh")
        case ServeStale(age=told):
            assert (told, life <= age < life + behind) == (age, True)
            event("in its window")
        case Fetch(fallback=fallback):
            assert age >= life + behind
            assert fallback is (age < life + on_error)
            event("over")
    if age < life and later == 0:
        assert isinstance(judged, Keep)
