"""Disks that fail for real. Most of them have to be mounted, which not every tester may: then the test is skipped, and
says what was in the way.

with small_disk(tmp_path / "cache") as disk:        # a file system of 1 MiB
    with full(disk): ...
with read_only(tmp_path / "cache"): ...             # for whoever comes by this path
with hanging_disk(tmp_path / "cache") as hang:      # a file system of 16 MiB ...
    with hang(): ...                                # ... on which every write stands still until the block ends
with cold_disk(tmp_path / "cache", tmp_path / "a"): # one that holds what lies in a folder, and that nobody has read
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest

from proxy.store.file_cached import PageCache

_PATIENCE = 30.0  # seconds that one of the system's tools may take


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """A file system of 1 MiB at `place`, in memory."""
    place.mkdir()
    _do("mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(place))
    try:
        yield place
    finally:
        _unmount(place)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Nothing more fits on it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    """What lies there can be read and no more, also by root."""
    _do("mount", "--bind", "-o", "ro", str(place), str(place))
    try:
        yield
    finally:
        _unmount(place)


@contextmanager
def hanging_disk(place: Path) -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """A file system of 16 MiB at `place`, and what makes it hang."""
    with _image(place):
        yield lambda: _frozen(place)


@contextmanager
def cold_disk(place: Path, content: Path) -> Iterator[None]:
    """A file system at `place` with the files of a folder, of which the kernel holds nothing in memory yet."""
    with _image(place, "-d", str(content)):
        yield


@contextmanager
def _image(place: Path, *options: str) -> Iterator[None]:
    place.mkdir()
    image = place.with_suffix(".img")
    with image.open("wb") as file:
        file.truncate(16 << 20)
    _do("mkfs.ext4", "-q", "-F", *options, str(image))
    _do("mount", "-o", "loop", str(image), str(place))
    try:
        yield
    finally:
        _unmount(place)
        image.unlink()


@contextmanager
def _frozen(place: Path) -> Iterator[None]:
    """Whoever writes waits in the kernel, and cannot even be killed: so it ends whatever happens."""
    _do("fsfreeze", "--freeze", str(place))
    try:
        yield
    finally:
        _do("fsfreeze", "--unfreeze", str(place))


def needs_page_cache(root: Path) -> None:
    """Skip where the file system of a cache directory does not say at once what the kernel holds of it."""
    if not PageCache().works(os.fsencode(root / "lock")):
        pytest.skip(f"nobody says at once what the kernel holds of {root}")


def _do(*command: str) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no {command[0]} here")
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    if done.returncode:
        pytest.skip(f"{' '.join(command[:2])}: {done.stderr.strip()}")


def _unmount(place: Path) -> None:
    """Now, for whoever comes by its path; for those who still have files there when they close them."""
    subprocess.run(["umount", "--lazy", str(place)], capture_output=True, timeout=_PATIENCE, check=True)
