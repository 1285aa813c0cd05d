"""One scenario of scenarios.json for locust, with the same bounds: exit 1 when one is broken (docs/load.md).

CASE=hit BASE=http://127.0.0.1:4000 python -m locust -f tests/load/locustfile.py --headless
"""

import os
import random
from collections import Counter
from collections.abc import Mapping
from itertools import accumulate, count
from statistics import fmean
from time import time

import requests
from gevent import sleep, spawn
from locust import LoadTestShape, constant, events, task
from locust.contrib.fasthttp import FastHttpUser
from scenarios import (
    HOST,
    OF_THE_RUNNER,
    scenarios,
)  # locust looks beside its file; the rest of the suite wants what is not there

BASES = os.environ.get("BASE", "http://127.0.0.1:4000").split(",")
SCENARIO = next(each for each in scenarios() if each.name == os.environ.get("CASE", "hit") and not each.runner)
SUMS = list(accumulate((rank + 1) ** -SCENARIO.skew for rank in range(SCENARIO.paths)))
WARM = bool(SCENARIO.paths) and (not SCENARIO.skew or SCENARIO.name == "purge")
RUN = f"{time():.0f}"  # so that what shall be cold is
FROM_STORE = ("HIT", "STALE", "UPDATING", "REVALIDATED")
HEADERS = {"Host": HOST}
PURGES = 10  # a second, at most
USERS, NUMBERS = count(), count()
TOOK: list[float] = []  # seconds of every answer
ALONE: list[float] = []  # those of one client before the others came
SEEN: Counter[str] = Counter()
FETCHED: Counter[str] = Counter()  # by path
PURGED: dict[str, tuple[float, float]] = {}  # by path: when its last purge was sent, and acknowledged (Unix seconds)


class Shape(LoadTestShape):
    """All clients at once, for as long as the list says."""

    def tick(self) -> tuple[int, float] | None:
        return (SCENARIO.clients, SCENARIO.clients) if self.get_run_time() < SCENARIO.seconds else None


class Client(FastHttpUser):
    """Asks one of the instances, each in turn has one."""

    host = BASES[0]
    wait_time = constant(0)

    def __init__(self, environment: object) -> None:
        self.number = next(USERS)
        self.asked = 0
        self.host = BASES[self.number % len(BASES)]
        super().__init__(environment)

    @task
    def ask(self) -> None:
        target, at = _target(self), time()
        answer = self.client.get(target, headers=HEADERS, name=SCENARIO.name)
        SEEN["connections"] += self.asked == 1
        TOOK.append(time() - at)
        _note(target, at, answer.status_code, answer.headers or {})


def _target(client: Client) -> str:
    client.asked += 1
    if SCENARIO.name == "miss":
        return f"/miss/{RUN}/{next(NUMBERS)}"
    if SCENARIO.name == "stampede":
        return f"/slow/{RUN}/{client.asked}"
    return _path()


def _path() -> str:
    (number,) = random.choices(range(SCENARIO.paths), cum_weights=SUMS)
    return f"/paths/{number}" if WARM else f"/paths/{RUN}/{number}"


def _note(target: str, at: float, status: int, fields: Mapping[str, str]) -> None:
    """The upstream is not seen from here: what was fetched is told by X-Cache."""
    verdict, part = fields.get("X-Cache", ""), (at - STARTED[0]) / SCENARIO.seconds * 3
    hit, sent = verdict in FROM_STORE, PURGED.get(target, (0.0, float("inf")))
    SEEN["errors"] += status != 200
    SEEN["hits"] += hit
    FETCHED[target] += verdict == "MISS" and "collapsed" not in fields.get("Cache-Status", "")
    SEEN["stale"] += at > sent[1] and float(fields.get("X-Made", "inf")) < sent[0]
    for name in ("before",) if part < 1 else ("after",) if part > 2 else ():
        SEEN[f"asked_{name}"] += 1
        SEEN[f"hits_{name}"] += hit
        SEEN[f"redis_{name}"] += fields.get("X-Cache-Tier") == "redis"


STARTED = [0.0]


@events.test_start.add_listener
def _begin(**_: object) -> None:
    """Warm what has to be warm, and measure one client alone."""
    with requests.Session() as session:
        for number in range(SCENARIO.paths if WARM else 0):
            for base in BASES:
                session.get(f"{base}/paths/{number}", headers=HEADERS)
        for number in range(100):
            target = _path() if WARM else f"/idle/{RUN}/{number}"
            ALONE.append(session.get(BASES[0] + target, headers=HEADERS).elapsed.total_seconds())
    STARTED[0] = time()
    if SCENARIO.name == "purge":
        spawn(_purge)


def _purge() -> None:
    """What is asked for after the 200 has to be made after the purge was sent, whichever instance answers."""
    head = {"Authorization": f"Bearer {os.environ.get('TOKEN', '')}"}
    for number in count():
        target, sent = f"/paths/{number % SCENARIO.paths}", time()
        base, what = BASES[number % len(BASES)], {"url": f"http://{HOST}{target}"}
        if requests.post(f"{base}/cache/purge", json=what, headers=head).status_code == 200:
            PURGED[target] = (sent, time())
            SEEN["purges"] += 1
        sleep(1 / PURGES)


@events.quitting.add_listener
def _judge(environment: object, **_: object) -> None:
    took, answers = sorted(TOOK) or [0.0], max(len(TOOK), 1)
    figures = {name: float(SEEN[name]) for name in ("connections", "stale", "purges", "redis_after")}
    figures |= {name: SEEN[name] / answers for name in ("errors", "hits")}
    figures["hits_before"] = SEEN["hits_before"] / max(SEEN["asked_before"], 1)
    figures["hits_after"] = SEEN["hits_after"] / max(SEEN["asked_after"], 1)
    figures["calls_per_path"] = max(FETCHED.values(), default=0)
    figures["slowdown"] = took[len(took) * 99 // 100] / (fmean(ALONE or [1.0]) * SCENARIO.clients)
    broken = SCENARIO.broken(figures, OF_THE_RUNNER)
    print("\n".join(f"broken: {line}" for line in broken) or "every bound kept")
    environment.process_exit_code = 1 if broken or not TOOK else 0
