"""Where they meet: one origin, everybody on the same core, in turn and round by round, so that whatever else this
machine does meanwhile hits all of them alike."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from bench.client import asked
from bench.figures import Figure
from bench.load import Load, Sample, problem, wrk
from bench.origin import Origin
from bench.pacer import each_once
from bench.peers.cachegate import MEMORY, Settings, cachegate
from bench.programs import Cores, Missing, Running

PASSES = 20  # over the paths until a cache holds them all; tiers are filled behind the answers
_FRESH = 10_000_000  # numbers for each load that wants paths which nobody has asked for

Start = Callable[[Path, Cores, Origin], AbstractContextManager[Running]]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how much. `seconds` of each measurement, `warm` of the load before it; `entries` and
    `connections` are what the cases of size hold."""

    rounds: int = 3
    seconds: float = 1.5
    warm: float = 0.2
    entries: int = 100_000
    connections: int = 10_000


@dataclass(frozen=True, slots=True)
class Contender:
    """One of those measured, or why it cannot be."""

    name: str
    server: Running | None
    load: Load
    absent: str = ""


@dataclass(slots=True)
class Measured:
    """Round by round; `problem` is why it does not count."""

    name: str
    samples: list[Sample]
    problem: str

    def figure(self, of: Callable[[Sample], float]) -> Figure:
        return Figure(self.name, tuple(map(of, self.samples)), self.problem)


@dataclass(slots=True)
class Arena:
    """`place` is a directory for everybody's things."""

    plan: Plan
    place: Path
    on: Cores
    origin: Origin
    _numbers: Iterator[int] = field(default_factory=count)

    def enter(self, stack: ExitStack, name: str, start: Start, load: Load, fill: Iterable[bytes] = ()) -> Contender:
        """Start it and let it fetch what it shall have. One that is not installed is no error."""
        try:
            server = stack.enter_context(start(self.directory(), self.on, self.origin))
        except Missing as missing:
            return Contender(name, None, load, str(missing))
        return Contender(name, server, load, self.filled(server, list(fill)))

    def directory(self) -> Path:
        """One that nobody has had."""
        return self.place / str(next(self._numbers))

    def filled(self, server: Running, heads: Sequence[bytes]) -> str:
        """Ask for these until the origin is asked for none of them; "" then, else why not."""
        for _ in range(PASSES if heads else 0):
            before = self.origin.asked()
            if wrong := each_once(server.port, heads).problem:
                return wrong
            if self.origin.asked() - before == 1:
                return ""
        return "invalid: it does not keep what it fetches" if heads else ""

    def contest(self, contenders: Sequence[Contender]) -> tuple[Figure, ...]:
        """Microseconds of CPU for each answer."""
        return tuple(each.figure(lambda sample: sample.microseconds) for each in self.measured(contenders))

    def measured(self, contenders: Sequence[Contender]) -> tuple["Measured", ...]:
        """All of them in turn, and again for each round. One whose sample does not count is left out from there on."""
        all_of_them = tuple(Measured(each.name, [], each.absent) for each in contenders)
        for _ in range(self.plan.rounds):
            for each, measured in zip(contenders, all_of_them, strict=True):
                if each.server is not None and not measured.problem:
                    sample, measured.problem = self.sample(each.server, each.load)
                    measured.samples.append(sample)
        return all_of_them

    def sample(self, server: Running, load: Load) -> tuple[Sample, str]:
        """One measurement, warmed up, and why it does not count."""
        self.loaded(server, load, self.plan.warm)
        right = asked(server.port, [load.first()])[0]
        if right.status != load.status:
            return self.loaded(server, load, 0), f"invalid: it answers {right.status}, not {load.status}"
        sample = self.loaded(server, load, self.plan.seconds)
        return sample, problem(sample, load, right.size)

    def loaded(self, server: Running, load: Load, seconds: float) -> Sample:
        """What happened while wrk asked for so long."""
        start = next(self._numbers) * _FRESH
        before, cpu = self.origin.asked(), server.cpu()
        told = wrk(server, load, seconds, self.place, start)
        return Sample(server.cpu() - cpu, told, self.origin.asked() - before - 1)


def gateway(settings: Settings = MEMORY, *, workers: int = 1) -> Start:
    """Our own, with these settings."""

    @contextmanager
    def start(directory: Path, on: Cores, origin: Origin) -> Iterator[Running]:
        with cachegate(directory, on, origin.url, settings, workers=workers) as running:
            yield running

    return start
