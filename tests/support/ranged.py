"""A resource as an origin that knows ranges answers for it (RFC 9110 13.2.2, 14, 15.3.7): to be scripted for a path.

file = Ranged(b"0123456789", etag='"1"')
origin.script("/a", file)
file.become(b"abcdefghij", etag='"2"')   # from now on
"""

import re

from tests.support.origin import Headers, Recorded, render


class Ranged:
    """It knows one range at a time, as most origins do; several are answered with the whole. `careless`: it sends a
    part whatever If-Range says; `parts_only`: what is whole is not for caches."""

    def __init__(
        self,
        body: bytes,
        headers: Headers = (),
        *,
        etag: str | None = '"1"',
        chunked: bool = False,
        careless: bool = False,
        parts_only: bool = False,
    ) -> None:
        self.headers = [("Cache-Control", "max-age=60"), *headers]
        self.chunked = chunked
        self.careless = careless
        self.parts_only = parts_only
        self.become(body, etag=etag)

    def become(self, body: bytes, *, etag: str | None) -> None:
        """Be another representation from now on."""
        self.body, self.etag = body, etag

    def __call__(self, request: Recorded) -> bytes:
        told = [*self.headers, *([("ETag", self.etag)] if self.etag else [])]
        if self.etag is not None and request.header("if-none-match") == self.etag:
            return render(request, 304, told, b"", chunked=False, close=False)
        wanted = re.fullmatch(r"bytes=([0-9]*)-([0-9]*)", request.header("range") or "")
        condition = None if self.careless else request.header("if-range")
        validators = {self.etag, *(value for name, value in self.headers if name == "Last-Modified")}
        if wanted is None or (condition is not None and condition not in validators):
            told += [("Cache-Control", "no-store")] * self.parts_only
            return render(request, 200, told, self.body, chunked=self.chunked, close=False)
        total = len(self.body)
        if not wanted[1]:
            start, end = max(0, total - int(wanted[2])), total
        else:
            start, end = int(wanted[1]), min(int(wanted[2]) + 1 if wanted[2] else total, total)
        if start >= end:
            told.append(("Content-Range", f"bytes */{total}"))
            return render(request, 416, told, b"", chunked=False, close=False)
        told.append(("Content-Range", f"bytes {start}-{end - 1}/{total}"))
        return render(request, 206, told, self.body[start:end], chunked=self.chunked, close=False)
