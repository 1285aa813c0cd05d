"""Making a directory our own, and telling who else is in it. Everything here blocks."""

import errno
import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path

from proxy.errors import StoreError


def make_own(path: Path) -> None:
    """A directory, no link to one, that nobody else may enter; its parents are made as private when missing."""
    for parent in reversed(path.parents):
        with suppress(FileExistsError):
            parent.mkdir(mode=0o700)
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    mode = path.lstat().st_mode
    if not stat.S_ISDIR(mode):
        raise NotADirectoryError(errno.ENOTDIR, "it is a symbolic link" if stat.S_ISLNK(mode) else "not a directory")
    if stat.S_IMODE(mode) != 0o700:
        path.chmod(0o700)


def lock(path: Path) -> int:
    """Hold the lock file until the descriptor is closed; StoreError when another gateway does."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(fd, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise StoreError(f"{path.parent}: another gateway is using this cache directory") from error
    except OSError:
        os.close(fd)
        raise
    return fd


def lives(name: str) -> bool:
    """Whether the process that made a temporary file is still there."""
    number = name.partition("-")[0]
    if not number.isdecimal():
        return False
    try:
        os.kill(int(number), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
