"""The gateway itself, as an operator runs it: `python -m proxy serve` with a YAML file, one worker, no access log."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from bench.client import Answer, asked, get
from bench.programs import PATIENCE, Cores, Missing, Running, free_port, program

NAME = "Cachegate"
PIPELINE = "lane off"
TOKEN = "bench-token"
REPOSITORY = Path(__file__).parent.parent.parent
_QUIET: Mapping[str, Any] = {"access": False, "level": "warning"}
NO_FILES: Mapping[str, Any] = {"enabled": False}
NO_MEMORY: Mapping[str, Any] = {"max_entries": 0}

Settings = Mapping[str, Mapping[str, Any] | list[Any]]
MEMORY: Settings = {"file": NO_FILES}
FILES: Settings = {"memory": NO_MEMORY}
ROOMY: Settings = {"memory": {"max_entries": 2_000_000, "max_bytes": "8GiB"}}  # nothing has to leave for another
LANE_OFF: Mapping[str, Any] = {"fast_lane": False}


@contextmanager
def cachegate(
    directory: Path, on: Cores, upstream: str, settings: Settings, *, workers: int = 1, port: int | None = None
) -> Iterator[Running]:
    """Yields once it is ready. The same directory and port again are a restart."""
    directory.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    given: dict[str, Any] = {
        "upstream": {"url": upstream},
        "listen": {"port": port, "workers": workers, "drain": 1, "drain_delay": 0},
        "admin": {"token": TOKEN},
        "log": _QUIET,
    }
    for section, value in settings.items():
        given[section] = {**given.get(section, {}), **value} if isinstance(value, Mapping) else value
    (directory / "cachegate.yaml").write_text(json.dumps(given))  # JSON is YAML
    command = [sys.executable, "-m", "proxy", "serve", "--config", "cachegate.yaml"]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY)}  # no settings of whoever measures
    cores = on.first if workers == 1 else on.server
    with program(command, port=port, directory=directory, on=cores, env=env) as running:
        until_ready(port)
        yield running


def until_ready(port: int) -> None:
    """Wait until it says that it can serve. TimeoutError after PATIENCE."""
    deadline = monotonic() + PATIENCE
    while page(port, "/ready").status != 200:
        if monotonic() > deadline:
            raise TimeoutError("the gateway began, but did not get ready")
        sleep(0.01)


def page(port: int, name: str) -> Answer:
    """One of those under /cache, with the token."""
    return asked(port, [get(f"/cache{name}", f"Authorization: Bearer {TOKEN}")])[0]


def stats(port: int) -> Any:
    return json.loads(page(port, "/stats").body)


def lane_or_missing() -> None:
    """Missing while this version has no fast lane to switch off: nothing but the settings knows of it."""
    package = REPOSITORY / "proxy"
    readers = (path for path in package.rglob("*.py") if not path.is_relative_to(package / "settings"))
    if not any("fast_lane" in path.read_text() for path in readers):
        raise Missing("this version has no lane")
