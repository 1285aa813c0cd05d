"""The memory of this process, as the kernel counts it and as libc can give it back."""

import os
from functools import cache
from pathlib import Path
from typing import Any

_STATM = Path("/proc/self/statm")


def resident() -> int | None:
    """Bytes that are in memory now, libraries included; None where the kernel does not tell (no /proc)."""
    try:
        return int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def give_back() -> None:
    """Return to the kernel what was freed and libc keeps for later: about 0.3 ms for each MB, for which whoever wants
    memory meanwhile waits, but runs otherwise when this is a thread's."""
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Any:
    """glibc has it; musl and macOS give back by themselves or not. ctypes is loaded by whoever comes this far: hardly
    a gateway does, and each of them would start later."""
    import ctypes

    return getattr(ctypes.CDLL(None), "malloc_trim", None)
