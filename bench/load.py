"""A load by wrk, and whether what it measured may be believed."""

import math
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.programs import Running, found
from bench.reading import Told, parsed_wrk

SCRIPTS = Path(__file__).parent / "lua"
CONNECTIONS = 32
_NEAR = 0.02  # by so much may answers differ in size: digits of Age, and of ids
_DIGITS = 64  # bytes, likewise


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk asks for. `heads` are those of the ring, or the two parts of one that counts (see lua/).

    `status` is what every answer must have, `asks` how often the origin is asked for each of them.
    """

    heads: tuple[bytes, ...]
    script: Literal["ring", "counting"] = "ring"
    status: int = 200
    asks: int = 0

    def first(self) -> bytes:
        """A head that stands for all."""
        return self.heads[0] if self.script == "ring" else b"0".join(self.heads)


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement: CPU seconds of the server's processes, what wrk told, and what the origin was asked."""

    cpu: float
    told: Told
    asked: int

    @property
    def microseconds(self) -> float:
        """CPU time for each answer."""
        return self.cpu / self.told.requests * 1e6 if self.told.requests else math.nan


def problem(sample: Sample, load: Load, size: int) -> str:
    """Why it does not count; "" when it does. `size` is that of one right answer, its head included, in bytes.

    wrk tells answers from 400 on; what else is not the right answer shows in its size, and a miss among hits (or a
    hit among misses) in what the origin was asked.
    """
    told = sample.told
    if told.errors:
        return "invalid: " + ", ".join(f"{count} {kind} errors" for kind, count in told.errors.items())
    if not told.requests:
        return "invalid: no answers"
    mean = told.bytes / told.requests
    if abs(mean - size) > size * _NEAR + _DIGITS:
        return f"invalid: answers of {mean:.0f} bytes, not {size}"
    wanted = load.asks * told.requests
    if abs(sample.asked - wanted) > CONNECTIONS + told.requests // 1000:
        return f"invalid: {sample.asked} requests to the origin, not {wanted}"
    return ""


def wrk(server: Running, load: Load, seconds: float, place: Path, start: int = 0) -> Told:
    """Load it for so long, from the core that this process runs on. `start` is where counting heads begin.

    wrk knows whole seconds alone: for others it is interrupted, which it takes as its end.
    """
    file = place / f"heads-{load.script}"
    file.write_bytes(b"".join(head + b"\0" for head in load.heads))
    command = [found("wrk", "wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{math.ceil(seconds) + 1}s", "--timeout", "5s"]
    command += ["-s", str(SCRIPTS / f"{load.script}.lua"), server.url, "--", str(file), str(start)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate()
    return parsed_wrk(output)
