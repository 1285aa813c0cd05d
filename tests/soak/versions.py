"""What an acknowledged purge forbids: each answer names its version, and no instance may serve one that is older than
what was purged there."""

import re
from collections.abc import Iterable, Mapping

GROUPS = 3
PATHS = tuple(f"/v/{number}" for number in range(24))
WAYS = (
    "max-age=60",
    "max-age=2, stale-while-revalidate=3",
    "max-age=60, stale-if-error=30",
    "s-maxage=5, must-revalidate",
)


def number(path: str) -> int:
    return int(path.rpartition("/")[2])


def content(path: str, version: int) -> bytes:
    """What the API says. One in five is larger than a socket's buffers."""
    return f"{path} version {version}\n".encode() * (16_000 if number(path) % 5 == 0 else 40)


def fields(path: str, version: int) -> list[tuple[str, str]]:
    tags = f"group-{number(path) % GROUPS} versions"
    return [("ETag", f'"v{version}"'), ("Cache-Control", WAYS[number(path) % len(WAYS)]), ("Surrogate-Key", tags)]


class Versions:
    """`current` is what the API has. A floor is the oldest version that an instance may still serve."""

    def __init__(self, instances: int) -> None:
        self.current = dict.fromkeys(PATHS, 1)
        self._floors = [dict.fromkeys(PATHS, 1) for _ in range(instances)]

    def change(self, paths: Iterable[str]) -> dict[str, int]:
        """The API has new versions of these from now on: which."""
        for path in (known := tuple(paths)):
            self.current[path] += 1
        return {path: self.current[path] for path in known}

    def purged(self, instance: int, versions: Mapping[str, int]) -> None:
        """The instance has said that everything older than these is gone."""
        floors = self._floors[instance]
        floors.update({path: max(floors[path], version) for path, version in versions.items()})

    def floor(self, instance: int, path: str) -> int:
        """To be asked before the request is sent."""
        return self._floors[instance][path]

    def wrong(self, path: str, floor: int, status: int, said: Mapping[str, str], body: bytes) -> str | None:
        """What is wrong with an answer that came whole, given the floor when it was asked for."""
        tag = re.fullmatch(r'"v(\d+)"', said.get("ETag", ""))
        if status not in (200, 206, 304) or tag is None:
            return f"{path}: status {status}, ETag {said.get('ETag')}"
        version = int(tag[1])
        if version < floor:
            via = f"{said.get('X-Cache')} {said.get('X-Cache-Tier')} age {said.get('Age')}"
            return f"{path}: version {version} after {floor} was purged for ({via})"
        if status == 304:
            return None
        whole = content(path, version)
        if status == 206:
            first, last = map(int, said["Content-Range"].split()[1].split("/")[0].split("-"))
            whole = whole[first : last + 1]
        if body != whole:
            return f"{path}: {len(body)} bytes that are not the {len(whole)} of version {version}: {body[:60]!r}"
        return None
