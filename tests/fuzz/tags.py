"""Tags: templates, what fills them, and what origins say. Lines: template, target, host, a header, Surrogate-Key,
Cache-Tag, xkey; then a JSON body."""

from proxy.message import Fields, Request
from proxy.policy.keys import Keyed, derive
from proxy.policy.tags import MAX_LENGTH, filled, tags_of, validate_template
from proxy.rules import KeySpec, Rule
from tests.fuzz.target import Feed, Target

SEEDS = (
    b"user:{path[2]}\n/api/users/7?x=%C3%A4\nsite.example\nv\na b  c\nd , e,,f\ng h,i\n{}",
    (b'{query.x}-{header.x-y}-{body.a.0.b}-{host}\n/?x=1&x=2&%78=3\n[::1]:80\n\xc3\xa4\n\n\n\n{"a": [{"b": 1.50}]}'),
    b"{path[999]}{body.true}{query.}\n/\n\n\n" + b"a" * 300 + b"\n\n\n" + b'{"true": true}',
)
TOKENS = (
    b"{",
    b"}",
    b"{path[",
    b"]}",
    b"{query.",
    b"{header.",
    b"{body.",
    b"{host}",
    b"%",
    b"&",
    b"\n",
    b" ",
    b",",
    b"a ",
    b"a,",
    b"\xc3",
    b"\x85",
)
_TAGS = 8


def check(data: bytes) -> None:
    feed = Feed(data)
    template, target, host, header = (feed.text() for _ in range(4))
    said = Fields.of(("Surrogate-Key", feed.text()), ("Cache-Tag", feed.text()), ("xkey", feed.text()))
    body = feed.rest()
    wrong = validate_template(template)
    rule = Rule(methods=frozenset({"GET"}), key=KeySpec(normal=False), tags=(template,), max_tags=_TAGS)
    request = Request("GET", "http", host, target, Fields.of(("X-Y", header)))
    keyed = derive(request, rule)
    assert isinstance(keyed, Keyed)
    own = list(filled(rule.tags, request, request.path, request.query, body))
    assert len(own) <= 1
    if wrong is None and "{" not in template:
        assert own == [template]
    kept, dropped = tags_of(rule, request, keyed, said, body)
    assert len(kept) == len(set(kept)) <= _TAGS
    assert all(0 < len(tag) <= MAX_LENGTH for tag in kept if tag not in own)
    assert dropped >= 0
    alone = tags_of(Rule(max_tags=_TAGS), request, keyed, said.without({"cache-tag"}))
    assert not any(char.isspace() for tag in alone.kept for char in tag)


TARGET = Target(check, SEEDS, TOKENS)
