"""Single keys from a terminal, without Enter; nothing where no terminal is."""

import os
import select
import sys
import time
from types import TracebackType
from typing import Self

try:
    import termios
    import tty
except ImportError:  # no such terminal on this system
    termios = None  # type: ignore[assignment]


GONE = b"q"  # the terminal was closed: nobody looks any more


class Keys:
    """While it is open, the terminal hands over each key as it is pressed; afterwards it is as it was."""

    def __init__(self) -> None:
        self._before: list[object] | None = None

    def __enter__(self) -> Self:
        if termios is not None and sys.stdin is not None and sys.stdin.isatty():
            self._before = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)  # type: ignore[arg-type]

    def pressed(self, seconds: float) -> str:
        """The next key, "" where none comes within so many seconds."""
        if self._before is None:
            time.sleep(seconds)
            return ""
        ready, _, _ = select.select([sys.stdin], [], [], seconds)
        # From the terminal itself: what Python had read ahead of us would be seen by no select.
        return (os.read(sys.stdin.fileno(), 1) or GONE).decode("latin-1") if ready else ""
