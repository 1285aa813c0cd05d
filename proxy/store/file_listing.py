"""What lies in the cache directory, as the file system shows it, with no file opened. All of it blocks, and raises
OSError for a disk that cannot say."""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from proxy.store.file_handle import disk_size
from proxy.store.shelves import KEY

_FOLDER = re.compile(r"[0-9a-f]{1,2}")


class Seen(NamedTuple):
    """A record as the file system shows it: bytes on disk, and from its times the last use and `keep_until`."""

    key: str
    size: int
    used_at: float
    keep_until: float
    file: tuple[int, int] = (0, 0)  # its inode, and when that changed last (ns): another pair means another file


def folders(path: str) -> Iterator[str]:
    """The paths of those below it that are ours; a link is none."""
    for entry in entries(path):
        if _FOLDER.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
            yield entry.path


def records(folder: str, prefix: str = "") -> list[Seen]:
    """Those in a folder whose keys begin so; what is no plain file with the name of one is passed over."""
    found, names = [], list[str]()
    with suppress(FileNotFoundError):
        names = os.listdir(folder)  # noqa: PTH208
    for name in names:
        if name.startswith(prefix) and KEY.fullmatch(name):
            with suppress(FileNotFoundError):
                status = os.lstat(f"{folder}/{name}")
                if stat.S_ISREG(status.st_mode):
                    file = status.st_ino, status.st_ctime_ns
                    found.append(Seen(name, disk_size(status.st_size), status.st_atime, status.st_mtime, file))
    return found


def entries(path: str) -> "list[os.DirEntry[str]]":
    """All that lies in a folder; nothing where there is none."""
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except FileNotFoundError:
        return []
