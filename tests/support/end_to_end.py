"""What of an answer has to come through a gateway as it was."""

from collections.abc import Set as AbstractSet

from tests.support.rawtcp import RawAnswer

# What the contract says that the gateway adds ("Response headers").
ADDED = frozenset({b"age", b"via", b"x-cache", b"x-cache-tier", b"cache-status", b"x-request-id"})
# For one connection only (RFC 9110 7.6.1), or between an origin and the proxy it challenges (RFC 9111 3.1).
HOP = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"proxy-authenticate"})


def status_line(answer: RawAnswer) -> bytes:
    return answer.head.partition(b"\r\n")[0]


def end_to_end(
    answer: RawAnswer, direct: RawAnswer, *, unequal: AbstractSet[bytes] = frozenset()
) -> list[tuple[bytes, bytes]]:
    """The end-to-end fields of `answer`, in order and by their bytes, to be compared with those of `direct`.

    Date, whose second may be another one, and the `unequal` stand without values; a length that `direct` did not tell
    is left out, since the gateway may know it.
    """
    left_out = ADDED | HOP
    if direct.header("content-length") is None or direct.status == 204:
        left_out |= {b"content-length"}
    blank = unequal | {b"date"}
    kept = [(name, value) for name, value in answer.pairs if name.lower() not in left_out]
    return [(name, b"" if name.lower() in blank else value) for name, value in kept]
