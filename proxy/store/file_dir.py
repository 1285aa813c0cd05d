"""A directory of our own on disk: who may be in it, where records lie, how one is written whole or not at all.

    <root>/             0700, made by us; every file in it 0600, whatever the umask
    <root>/lock         held by flock as long as we run: one gateway, one directory; of several workers their parent
                        holds it
    <root>/tmp/         what is being written; emptied after the start, so a killed writer leaves nothing
    <root>/a/bb/<key>   records; the variants of one hash lie in one folder, one of 4,096 (by 65,536 the folders of a
                        small cache would take more room than its records)

No symbolic link is followed: one that stands where a file or folder of ours should be is foreign, and is taken away,
not its target. A write ends with a rename and no fsync: after a power cut a record may be torn, and its checksums
say so. All but `run`, `run_open` and `later` block, and belong into the worker threads that these three lead to;
`path_of` and `cached` do not, and belong into the event loop.
"""

import asyncio
import errno
import os
import secrets
import stat
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from enum import Enum
from functools import partial
from itertools import count
from pathlib import Path
from typing import ParamSpec, TypeVar

from proxy.errors import StoreError
from proxy.store.file_cached import PageCache
from proxy.store.file_claim import lives, lock, make_own
from proxy.store.file_handle import Foreign, OpenFile, disk_errors
from proxy.store.file_listing import Seen, entries, folders, records
from proxy.store.shelves import KEY

USED = 10_000  # records whose use is noted together
_READING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LATEST = 2**33  # file times stay below the year 2242, which every file system can hold

P = ParamSpec("P")
R = TypeVar("R")


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
        self._mode_kept = False  # the umask leaves files the mode that we give them
        self._role = role
        self._own = f"{os.getpid()}-{secrets.token_hex(3)}-"  # what names of our temporary files begin with
        self._numbers = count(1)
        self._pool = ThreadPoolExecutor(threads, "cachegate-file")
        self._cache: PageCache | None = None  # None where the file system does not say at once what it has
        self.notes = 0  # how often it was noted on disk what was used
        self._used: list[bytes] = []  # paths of that, at most USED

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
            cache = PageCache()
            self._cache = cache if cache.works(os.fsencode(self.root / "lock")) else None
        if self._role is not Role.WORKER:
            self._left = self._idle_temps(lambda name: False)

    def release(self) -> None:
        """Wait for the jobs under way, then let another gateway in; idempotent. Not to be called in a worker."""
        self._cache = None
        self._pool.shutdown(wait=True)
        self.note_used()
        self._unlock()

    def open(self, key: str) -> OpenFile | None:
        """The record's file for reading; None when there is none, Foreign when it is no plain file."""
        with disk_errors(f"{key}: open"):
            try:
                fd = os.open(self._path(key), _READING)
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

    def path_of(self, key: str) -> bytes | None:
        """Where the record of a key lies that is known to be one; None when its folder was not looked at yet."""
        _, folder = self._folders_of(key)
        return os.fsencode(f"{folder}/{key}") if self._cache is not None and folder in self._sound else None

    def cached(self, path: bytes) -> memoryview | None:
        """What lies at a path, where it is small and the kernel holds all of it; good until the next call."""
        return None if self._cache is None else self._cache.read(path)

    @property
    def cache(self) -> PageCache | None:
        """What reads that; None where nobody can say at once what the kernel holds."""
        return self._cache

    def used(self, path: bytes) -> None:
        """What was `cached` was used; once for each of the `notes` is enough."""
        if len(self._used) < USED:
            self._used.append(path)

    def note_used(self) -> None:
        """Let the kernel note on disk what was used since the last time, as it does by itself for all else that is
        read."""
        self.notes += 1
        used, self._used = self._used, []
        for path in used:
            with suppress(OSError):
                fd = os.open(path, _READING)
                try:
                    os.pread(fd, 1, 0)
                finally:
                    os.close(fd)

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

    def create_temp(self) -> tuple[str, int]:
        """(path, descriptor) of a new temporary file. A directory that was deleted under us is made and locked anew."""
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
                self._close_to_others(fd)
                return path, fd
        except BaseException:
            self._temps.discard(path)
            raise

    def _close_to_others(self, fd: int) -> None:
        """Whatever the umask takes away; once it was seen to take nothing that we want, nobody looks again."""
        if not self._mode_kept:
            self._mode_kept = stat.S_IMODE(os.fstat(fd).st_mode) == 0o600
            if not self._mode_kept:
                os.fchmod(fd, 0o600)

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
            return records(folder, hash)

    def tops(self) -> list[str]:
        """The folders of the first level."""
        with disk_errors("list the cache directory"):
            return [str(path) for path in folders(self._root)]

    def walk(self, top: str) -> list[Seen]:
        """The records below one folder of the first level."""
        with disk_errors("list the cache directory"):
            return [seen for folder in folders(top) for seen in records(folder)]

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
            found = entries(self._tmp)
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
        if not KEY.fullmatch(key):
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


def _file_time(seconds: float) -> float:
    return max(0.0, min(seconds, _LATEST))


def _drop_result(drop: Callable[[R], None], future: "asyncio.Future[R]") -> None:
    if not future.cancelled() and future.exception() is None:
        drop(future.result())
