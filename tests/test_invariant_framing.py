"""No answer is taken for the answer to another request (invariant 7, on the origin's side): whatever an origin adds to
its answers or leaves out, each client gets what was sent for it, or an error. What clients send is in
test_fuzz_framing."""

import asyncio
import re
from random import Random

import pytest

from tests.support.gateway import running
from tests.support.origin import Gate, Origin, Reader, Recorded, Writer
from tests.support.rawtcp import Broken, raw

HASTY = {"first_byte_timeout": 0.2, "read_timeout": 0.2}
PATIENT = {"consecutive": 10**6, "min_requests": 10**6}  # the breaker is not what keeps answers apart
OTHERS = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nCache-Control: max-age=60\r\n\r\n<of another>"


def answer(mark: bytes, random: Random) -> list[bytes]:
    """Pieces of an answer with this mark, and of what no client must ever see: `<of another>`."""
    body = b"<%b>" % mark
    head = b"HTTP/1.1 200 OK\r\nX-Mark: %b\r\n" % mark
    good = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    chunks = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    bad = [
        [good + OTHERS],
        [chunks + OTHERS],
        [good + b"\r\n\r\n" + OTHERS],
        [b"HTTP/1.1 100 Continue\r\n\r\n" * random.randrange(5) + good],
        [b"HTTP/1.1 1" + b"03 Early\r\n\r\n", good],
        [head + b"Content-Length: 3\r\nContent-Length: %d\r\n\r\n" % (len(body) + len(OTHERS)) + body + OTHERS],
        [head + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n" + OTHERS],
        [head + b"Content-Length: %d\r\n\r\n" % (len(body) + 5) + body],
        [b"HTTP/1.1 204 No Content\r\nContent-Length: %d\r\n\r\n" % len(OTHERS) + OTHERS],
        [b"HTTP/1.1 304 Not Modified\r\n\r\n" + OTHERS],
        [head + b"Content-Length: %d\r\n\r\n" % len(body), body + OTHERS],
        [chunks[:-5] + b"1\r\n"],
        [b"\r\n" + good],
        [],
    ]
    return [good] if random.random() < 0.5 else random.choice(bad)


async def test_every_answer_is_for_who_asked() -> None:
    random = Random(1)

    async def bent(request: Recorded, reader: Reader, writer: Writer) -> None:
        for piece in answer(request.path[1:].encode(), random):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(random.choice((0, 0, 0.001)))

    got: dict[str, bytes] = {}
    async with Origin() as origin, running(origin, {"upstream": HASTY | {"breaker": PATIENT}}) as gateway:

        async def client(numbers: range) -> None:
            for number in numbers:
                method = random.choice(("GET", "GET", "GET", "HEAD", "POST"))
                origin.script(f"/m{number}", bent)
                async with raw(gateway.port) as connection:
                    await connection.send(f"{method} /m{number} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                    try:
                        one = await connection.response(method=method)
                        got[f"m{number}"] = one.head + one.body
                    except Broken:
                        got[f"m{number}"] = b""

        await asyncio.gather(*(client(range(start, start + 40)) for start in range(0, 320, 40)))
    wrong = [
        (mark, said)
        for mark, said in got.items()
        if set(re.findall(rb"X-Mark: (\w+)|<(\w[\w ]*)>", said)) - {(mark.encode(), b""), (b"", mark.encode())}
    ]
    assert wrong == []
    assert sum(b"<" in said for said in got.values()) > 100
    assert origin.connections < 320  # and connections were used again


@pytest.mark.parametrize("late", [False, True], ids=["with it", "after it"])
@pytest.mark.parametrize("extra", [OTHERS, OTHERS[:9], b"0\r\n\r\n", b"\r\n\r\n" + OTHERS], ids=range(4))
async def test_a_connection_with_bytes_left_over_is_never_used_again(extra: bytes, late: bool) -> None:
    """Whether they come with the answer or while nobody waits for one. Another connection, which is idle for longer, is
    used instead: so it was not its age that ended the one."""
    good = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"
    async with Origin() as origin, running(origin, {"upstream": {"breaker": PATIENT}}) as gateway:
        first, second, third = Gate(), Gate(), Gate()
        origin.script("/clean", first, good)
        origin.script("/a", second, *((good, third, extra) if late else (good + extra,)))
        origin.answer("/b", body=b"next")
        asked = []
        for path in ("/clean", "/a"):
            asked.append(asyncio.create_task(gateway.get(path)))
            await origin.arrived(path)
        for gate, answered in zip((first, second), asked, strict=True):
            gate.release()
            assert (await answered).body == b"good"
        third.release()
        await origin.until(lambda: origin.open == 1)
        assert (await gateway.get("/b")).body == b"next"
        assert [request.connection for request in origin.requests] == [1, 2, 1]
