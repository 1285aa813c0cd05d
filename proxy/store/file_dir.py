"""A directory of our own on disk: who may be in it, where records lie, how one is written whole or not at all.

    <root>/             0700, made by us; every file in it 0600, whatever the umask
    <root>/lock         held by flock as long as we run: one gateway, one directory; of several workers their parent
                        holds it
    <root>/tmp/         what is being written; emptied after the start, so a killed writer leaves nothing
    <root>/a/bb/<key>   records; the variants of one hash lie in one folder, one of 4,096 (by 65,536 the folders of a
                        small cache would take more room than its records)

No symbolic link is followed: one that stands where a file or folder of ours should be is foreign, and is taken away,
not its target. A write ends with a rename and no fsync: after a power cut a record may be torn, and its checksums
say so. All but `run`, `run_open` and `later` block, and belong into the worker threads that these three lead to.
"""

import asyncio
import errno
import os
import re
import secrets
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from enum import Enum
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeVar

from proxy.errors import StoreError
from proxy.store.file_claim import lives, lock, make_own
from proxy.store.file_handle import Foreign, OpenFile, disk_errors, disk_size

_KEY = re.compile(r"[0-9a-f]{64}(\.[0-9a-f]{16})?")
_FOLDER = re.compile(r"[0-9a-f]{1,2}")
_LATEST = 2**33  # file times stay below the year 2242, which every file system can hold

P = ParamSpec("P")
R = TypeVar("R")


class Seen(NamedTuple):
    """A record as the file system shows it: bytes on disk, and from its times the last use and `keep_until`."""

    key: str
    size: int
    used_at: float
    keep_until: float
    file: tuple[int, int] = (0, 0)  # its inode, and when that changed last (ns): another pair means another file


class Role(Enum):
    """Who is in the directory: one process alone; the parent of several workers, which holds the lock for them; or one
    of these workers."""

    ALONE = "alone"
    PARENT = "parent"
    WORKER = "worker"


class Directory:
    """`spool_max`: bytes that recordings under way may take beside the records; `spooled`: what they take now."""

    def __init__(self, root: Path, *, spool_max: int, threads: int = 8, role: Role = Role.ALONE) -> None:
        self.root = root.absolute()  # not resolve(), which would follow links
        self.spool_max = spool_max
        self.spooled = 0
        self._root = str(self.root)
        self._tmp = str(self.root / "tmp")
        self._lock_fd: int | None = None
        self._claiming = threading.Lock()
        self._sound: set[str] = set()  # folders seen to be folders, at most 4,096
        self._temps: set[str] = set()  # temporary files in use
        self._left: list[str] = []  # those that were there when we came
        self._role = role
        self._own = f"{os.getpid()}-{secrets.token_hex(3)}-"  # what names of our temporary files begin with
        self._numbers = count(1)
        self._pool = ThreadPoolExecutor(threads, "cachegate-file")

    async def run(self, job: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Do `job` in a worker thread; StoreError once the directory is released."""
        return await asyncio.wrap_future(self._submit(job, *args, **kwargs))

    async def run_open(self, job: Callable[[], R], drop: Callable[[R], None]) -> R:
        """As `run`, for a result that holds a file: `drop` gets it when the caller was cancelled meanwhile."""
        future = asyncio.wrap_future(self._submit(job))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            future.add_done_callback(partial(_drop_result, drop))
            raise

    def later(self, job: Callable[[], object]) -> None:
        """Do `job`, which raises nothing, in a worker thread with nobody waiting for it."""
        try:
            self._submit(job)
        except StoreError:
            job()

    def claim(self) -> None:
        """Make the directory and lock it, unless our parent has; StoreError, in one line, when it cannot be ours."""
        with self._claiming, disk_errors(f"{self.root}: cannot be the cache directory"):
            make_own(self.root)
            if self._role is not Role.WORKER:
                self._unlock()
                self._lock_fd = lock(self.root / "lock")
            tmp = Path(self._tmp)
            if tmp.is_symlink():
                tmp.unlink()
            make_own(tmp)
            self._sound.clear()
        if self._role is not Role.WORKER:
            self._left = self._idle_temps(lambda name: False)

    def release(self) -> None:
        """Wait for the jobs under way, then let another gateway in; idempotent. Not to be called in a worker."""
        self._pool.shutdown(wait=True)
        self._unlock()

    def open(self, key: str) -> OpenFile | None:
        """The record's file for reading; None when there is none, Foreign when it is no plain file."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with disk_errors(f"{key}: open"):
            try:
                fd = os.open(self._path(key), flags)
            except FileNotFoundError:
                return None
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENXIO):
                    raise Foreign(f"{key}: a link or a socket") from error
                raise
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                os.close(fd)
                raise Foreign(f"{key}: not a plain file")
            return OpenFile(fd, status.st_size)

    def remove(self, key: str) -> bool:
        """Unlink a record; False when there was none."""
        with disk_errors(f"{key}: remove"):
            try:
                os.unlink(self._path(key))  # noqa: PTH108
            except FileNotFoundError:
                return False
            except (IsADirectoryError, PermissionError):  # a folder in its place (Linux, macOS); rmdir refuses a file
                os.rmdir(self._path(key))  # noqa: PTH106
            return True

    def create_temp(self) -> tuple[str, OpenFile]:
        """(path, file) of a new temporary file. A directory that was deleted under us is made and locked anew."""
        path = f"{self._tmp}/{self._own}{next(self._numbers)}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._temps.add(path)
        try:
            with disk_errors("create a temporary file"):
                try:
                    fd = os.open(path, flags, 0o600)
                except FileNotFoundError:
                    self.claim()
                    fd = os.open(path, flags, 0o600)
                os.fchmod(fd, 0o600)
                return path, OpenFile(fd)
        except BaseException:
            self._temps.discard(path)
            raise

    def drop_temp(self, path: str) -> None:
        """Remove a temporary file; errors leave it to the sweeper."""
        with suppress(OSError):
            os.unlink(path)  # noqa: PTH108
        self._temps.discard(path)

    def publish(self, path: str, fd: int, key: str, used_at: float, keep_until: float) -> None:
        """Give a temporary file its place among the records. Its times tell what sweeping and a restart want to
        know without reading it: last use (atime, which the kernel then keeps) and `keep_until` (mtime)."""
        with disk_errors(f"{key}: publish"):
            os.utime(fd, (_file_time(used_at), _file_time(keep_until)))
            try:
                os.rename(path, self._path(key))  # noqa: PTH104
            except FileNotFoundError:
                self._make_folders(key)
                os.rename(path, self._path(key))  # noqa: PTH104
            except IsADirectoryError:
                os.rmdir(self._path(key))  # noqa: PTH106
                os.rename(path, self._path(key))  # noqa: PTH104
        self._temps.discard(path)

    def variants(self, hash: str) -> list[Seen]:
        """The records of one hash."""
        with disk_errors(f"{hash}: list"):
            try:
                folder = os.path.dirname(self._path(hash))  # noqa: PTH120
            except FileNotFoundError:
                return []
            return _records(folder, hash)

    def tops(self) -> list[str]:
        """The folders of the first level."""
        with disk_errors("list the cache directory"):
            return [str(path) for path in _folders(self._root)]

    def walk(self, top: str) -> list[Seen]:
        """The records below one folder of the first level."""
        with disk_errors("list the cache directory"):
            return [seen for folder in _folders(top) for seen in _records(folder)]

    def drop_left(self, most: int) -> int:
        """Remove that many of the temporary files that were there when we came; how many are still there."""
        for _ in range(min(most, len(self._left))):
            self.drop_temp(self._left.pop())
        return len(self._left)

    def sweep_temps(self) -> int:
        """Remove temporary files that nobody is writing any more; how many."""

        def is_anothers(name: str) -> bool:
            return self._role is not Role.ALONE and not name.startswith(self._own) and lives(name)

        idle = self._idle_temps(is_anothers)
        for path in idle:
            self.drop_temp(path)
        return len(idle)

    def _idle_temps(self, spared: Callable[[str], bool]) -> list[str]:
        with disk_errors("list temporary files"):
            found = _entries(self._tmp)
        return [entry.path for entry in found if entry.path not in self._temps and not spared(entry.name)]

    def _submit(self, job: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> "Future[R]":
        try:
            return self._pool.submit(job, *args, **kwargs)
        except RuntimeError as error:
            raise StoreError("the file tier is closed") from error

    def _unlock(self) -> None:
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def _path(self, key: str) -> str:
        """Where a key's record lies; FileNotFoundError for what cannot be a key, or when its folder is not there."""
        if not _KEY.fullmatch(key):
            raise FileNotFoundError(errno.ENOENT, "not a key", key)
        top, folder = self._folders_of(key)
        if folder not in self._sound:
            _check_folder(top)
            _check_folder(folder)
            self._sound.add(folder)
        return f"{folder}/{key}"

    def _folders_of(self, key: str) -> tuple[str, str]:
        top = f"{self._root}/{key[0]}"
        return top, f"{top}/{key[1:3]}"

    def _make_folders(self, key: str) -> None:
        top, folder = self._folders_of(key)
        for path in (top, folder):
            with suppress(FileExistsError):
                os.mkdir(path, 0o700)  # noqa: PTH102
                os.chmod(path, 0o700)  # noqa: PTH101
        self._sound.discard(folder)


def _check_folder(path: str) -> None:
    """FileNotFoundError unless it is a folder; anything else in its place is taken away."""
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        os.unlink(path)  # noqa: PTH108
        raise FileNotFoundError(errno.ENOENT, "not a folder", path)


def _folders(path: str) -> Iterator[str]:
    for entry in _entries(path):
        if _FOLDER.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
            yield entry.path


def _records(folder: str, prefix: str = "") -> list[Seen]:
    found, names = [], list[str]()
    with suppress(FileNotFoundError):
        names = os.listdir(folder)  # noqa: PTH208
    for name in names:
        if name.startswith(prefix) and _KEY.fullmatch(name):
            with suppress(FileNotFoundError):
                status = os.lstat(f"{folder}/{name}")
                if stat.S_ISREG(status.st_mode):
                    file = status.st_ino, status.st_ctime_ns
                    found.append(Seen(name, disk_size(status.st_size), status.st_atime, status.st_mtime, file))
    return found


def _entries(path: str) -> "list[os.DirEntry[str]]":
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except FileNotFoundError:
        return []


def _file_time(seconds: float) -> float:
    return max(0.0, min(seconds, _LATEST))


def _drop_result(drop: Callable[[R], None], future: "asyncio.Future[R]") -> None:
    if not future.cancelled() and future.exception() is None:
        drop(future.result())
