"""What the kernel and wrk say, as figures: the CPU time and the memory of a tree of processes, and how a load went."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_WORDS = re.compile(r"(\w+)=(\d+)")


@dataclass(frozen=True, slots=True)
class Stat:
    """One process as /proc/PID/stat has it (proc(5)): `ticks` of CPU, its own and those of its children that have
    ended and been waited for."""

    pid: int
    parent: int
    ticks: int


def parsed_stat(text: str) -> Stat:
    """The name in the second field may hold anything, blanks and brackets too: what follows begins after the last."""
    pid, _, _ = text.partition(" ")
    fields = text[text.rindex(")") + 2 :].split()
    user, system, children_user, children_system = (int(each) for each in fields[11:15])
    return Stat(int(pid), int(fields[1]), user + system + children_user + children_system)


def tree_ticks(stats: Iterable[Stat], root: int) -> int:
    """Of a process and all who descend from it. Who has ended counts in the parent that waited for him."""
    known = {stat.pid: stat for stat in stats}
    return sum(stat.ticks for stat in known.values() if _descends(stat, root, known))


def _descends(stat: Stat, root: int, known: dict[int, Stat]) -> bool:
    at: Stat | None = stat
    while at is not None and at.pid != root:
        at = known.get(at.parent)
    return at is not None


def cpu_seconds(root: int) -> float:
    """User and system time of the tree so far, in seconds; the kernel tells it in steps of 10 ms."""
    return tree_ticks(_stats(), root) / os.sysconf("SC_CLK_TCK")


def tree_memory(root: int, name: str = "VmRSS") -> int:
    """Bytes that the tree holds (`VmRSS`), or has held at most (`VmHWM`), as /proc/PID/status says."""
    return sum(parsed_status(_text(PROC / str(pid) / "status"), name) for pid in tree(root))


def tree(root: int) -> list[int]:
    """The process and all who descend from it."""
    known = {stat.pid: stat for stat in _stats()}
    return [stat.pid for stat in known.values() if _descends(stat, root, known)]


def parsed_status(text: str, name: str) -> int:
    """Bytes; 0 where the kernel tells none, as of a process that has ended."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _stats() -> list[Stat]:
    texts = (_text(path / "stat") for path in PROC.iterdir() if path.name.isdecimal())
    return [parsed_stat(text) for text in texts if text]


def _text(path: Path) -> str:
    """ "" when the process has ended meanwhile."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


# -- wrk ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Told:
    """What a load says of itself: answers that came whole, seconds, bytes of them all with their heads, and what
    went wrong by kind."""

    requests: int
    seconds: float
    bytes: int
    errors: dict[str, int]

    @property
    def rate(self) -> float:
        """Answers in a second."""
        return self.requests / self.seconds


def parsed_wrk(output: str) -> Told:
    """The line that our scripts print when wrk is done. ValueError with all of its output when there is none."""
    line = re.search(r"^bench (.*)$", output, re.MULTILINE)
    if line is None:
        raise ValueError(f"wrk wanted to say `bench requests=...` at its end; it said:\n{output}")
    said = {name: int(value) for name, value in _WORDS.findall(line[1])}
    errors = {name: said[name] for name in ("connect", "read", "write", "timeout", "status") if said[name]}
    return Told(said["requests"], said["microseconds"] / 1e6, said["bytes"], errors)
