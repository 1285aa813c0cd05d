"""The journal's file and its directory, on which one process at a time writes. Every call blocks."""

import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

REWRITE_FROM = 1 << 20  # bytes; and only when it is GROWTH times what the last copy took
GROWTH = 4

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_sync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


class Disk:
    """The file at `path`. OSError is the caller's. No symlink is followed in the directory,
    and a lock beside the file keeps other gateways away from it."""

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._file: int | None = None
        self._size = 0
        self._copied = 0  # bytes of the compact copy it starts with
        with suppress(FileExistsError):
            path.parent.mkdir(parents=True)
            path.parent.chmod(0o700)  # whatever the umask
        self._lock: int | None = None
        self._directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            self._lock = self._open(f"{self._name}.lock", _OLD | os.O_CREAT)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise OSError(error.errno, "another gateway keeps its journal here") from error
        except OSError:
            self.close()
            raise

    @property
    def overgrown(self) -> bool:
        return self._size > max(REWRITE_FROM, GROWTH * self._copied)

    def instance(self) -> str:
        """The four hex digits that name this instance, made at the first start."""
        raw = self._read("instance") or b""
        if re.fullmatch(rb"[0-9a-f]{4}", raw.strip()):
            return raw.strip().decode()
        name = secrets.token_hex(2)
        self._remove("instance")
        file = self._open("instance", _NEW)
        try:
            os.write(file, f"{name}\n".encode())
        finally:
            os.close(file)
        return name

    def read(self) -> bytes | None:
        """All of the journal file; None when there is none."""
        return self._read(self._name)

    def rewrite(self, chunks: Iterable[bytes]) -> None:
        """Put these in the file's place; they are there wholly or not at all."""
        fresh = f"{self._name}.new"
        self._remove(fresh)
        file = self._open(fresh, _NEW)
        size = 0
        try:
            for chunk in chunks:
                size += _write(file, chunk)
            _sync(file)
            os.rename(fresh, self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        except OSError:
            os.close(file)
            with suppress(OSError):
                self._remove(fresh)
            raise
        if self._file is not None:
            os.close(self._file)
        self._file, self._size, self._copied = file, size, size
        os.fsync(self._directory)

    def append(self, lines: bytes) -> None:
        assert self._file is not None
        self._size += _write(self._file, lines)
        _sync(self._file)

    def discard(self) -> None:
        """See to it that no later start trusts the file, by whatever still works."""
        with suppress(OSError):
            if self._file is None:
                self._file = self._open(self._name, _OLD)
            os.ftruncate(self._file, 0)
        if self._file is not None:
            os.close(self._file)
            self._file = None
        with suppress(OSError):
            self._remove(self._name)
            os.fsync(self._directory)

    def close(self) -> None:
        for file in (self._file, self._lock, self._directory):
            if file is not None:
                os.close(file)
        self._file = None

    def _open(self, name: str, flags: int) -> int:
        file = os.open(name, flags, 0o600, dir_fd=self._directory)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise OSError(f"{name} is not a file")
        if flags & os.O_CREAT:
            os.fchmod(file, 0o600)
        return file

    def _read(self, name: str) -> bytes | None:
        try:
            file = self._open(name, _OLD)
        except FileNotFoundError:
            return None
        with os.fdopen(file, "rb") as stream:
            return stream.read()

    def _remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._directory)


def _write(file: int, data: bytes) -> int:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]
    return len(data)
