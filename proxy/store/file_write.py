"""How an answer gets into its file: all at once where it lies in memory, else in parts."""

import os

from proxy.entry import Entry
from proxy.errors import StoreError
from proxy.store import codec
from proxy.store.codec import HEADER
from proxy.store.file_body import SpoolBody
from proxy.store.file_dir import Directory
from proxy.store.file_handle import disk_errors, disk_size, write_all
from proxy.store.file_temp import TempFile


def write_whole(directory: Directory, key: str, pieces: tuple[bytes, ...], used_at: float, keep_until: float) -> None:
    """Make these bytes the record of `key`, by as few calls as that takes. StoreError when the disk does not take them,
    and nothing is left of them then. Blocks."""
    path, fd = directory.create_temp()
    try:
        with disk_errors("write"):
            done = os.writev(fd, pieces)
            if done < sum(map(len, pieces)):  # the disk is full, and says so to the next byte
                write_all(fd, b"".join(pieces)[done:], done)
        directory.publish(path, fd, key, used_at, keep_until)
    except BaseException:
        directory.drop_temp(path)
        raise
    finally:
        os.close(fd)


async def write_in_parts(directory: Directory, entry: Entry, used_at: float) -> int:
    """Bytes on disk of the record that now holds the entry. A recording in this directory becomes it without a copy."""
    body = entry.body
    if isinstance(body, SpoolBody) and body.temp.directory is directory and not body.temp.published:
        return await directory.run(_publish, body.temp, entry, used_at)
    temp = await directory.run_open(lambda: TempFile(directory, HEADER), TempFile.discard)
    try:
        async for chunk in body.read():
            await directory.run(temp.append, chunk)
        if temp.size != body.size:
            raise StoreError("a body is not as long as it says")
        return await directory.run(_publish, temp, entry, used_at)
    finally:
        directory.later(temp.discard)


def _publish(temp: TempFile, entry: Entry, used_at: float) -> int:
    header, head = codec.frame(entry, temp.size, temp.sum)
    return disk_size(temp.publish(entry.key, header, head, used_at, entry.keep_until))
