"""Bodies packed at rest: zstandard (RFC 8878) at level 1, where that pays. What is unpacked is bounded beforehand."""

import threading
from collections.abc import AsyncIterator

import zstandard

from proxy.errors import StoreError
from proxy.message import Fields
from proxy.store.codec import BadRecord

SMALLEST = 1024  # bytes; below that the frame eats the gain
LEVEL = 1
_DENSE = (
    "image/",
    "audio/",
    "video/",
    "font/woff",
    "application/font-woff",
    "application/zip",
    "application/gzip",
    "application/zstd",
    "application/java-archive",
    "application/vnd.rar",
    "application/vnd.openxmlformats",
    "application/x-7z",
    "application/x-bzip",
    "application/x-gzip",
    "application/x-rar",
    "application/x-xz",
)
_LOOSE = ("image/svg", "image/bmp", "audio/wav")  # of those, what is not compressed


class _Tools(threading.local):
    """zstandard's contexts serve one thread at a time, and are dear to make."""

    def __init__(self) -> None:
        self.packer = zstandard.ZstdCompressor(level=LEVEL)
        self.unpacker = zstandard.ZstdDecompressor()


_tools = _Tools()


class PackedBody:
    """Content that lies packed in `packed`. It has to be unpacked before it is read."""

    __slots__ = ("packed", "size")

    data = None

    def __init__(self, packed: bytes, size: int) -> None:
        self.packed = packed
        self.size = size

    async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        raise StoreError("a packed body is not read")
        yield b""

    async def verify(self) -> None:
        raise StoreError("a packed body is not read")

    def share(self) -> "PackedBody":
        return self

    def close(self) -> None:
        pass


def worth_packing(fields: Fields, size: int) -> bool:
    """Whether a body of that size, in an answer with these fields, could become much smaller."""
    if size < SMALLEST or "content-encoding" in fields:
        return False
    kind = (fields.get("content-type") or "").lower()
    return not kind.startswith(_DENSE) or kind.startswith(_LOOSE)


def pack(data: bytes) -> bytes | None:
    """None when it would not be smaller."""
    packed = _tools.packer.compress(data)
    return packed if len(packed) < len(data) else None


def unpack(body: PackedBody, most: int) -> bytes:
    """The content; BadRecord unless that is exactly as long as said, and `most` bytes at most."""
    if body.size > most:
        raise BadRecord("its body would be too large unpacked")
    try:
        # the frame says itself how much room it wants, and gets no more than that
        if zstandard.frame_content_size(body.packed) != body.size:
            raise BadRecord("its packed body is not as long as its head says")
        return _tools.unpacker.decompress(body.packed, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise BadRecord(f"its body cannot be unpacked: {error}") from error
