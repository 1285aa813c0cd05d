"""The CycloneDX document of a release: what cyclonedx-py found in the environment, and what it cannot know of the root
(its version and its wheel, pyproject.toml says "dynamic") and of the files that the lock takes for each component.

    python deploy/release/sbom.py found.json requirements.lock dist
"""

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

_PIN = re.compile(r"^([a-z0-9._-]+)==([^ \\]+)((?:.*\\\n)*.*)", re.MULTILINE)


def locked(lock: str) -> dict[tuple[str, str], list[str]]:
    """Name and version of each pin of a lock, with the SHA-256 of every file that it takes."""
    return {(name, version): re.findall(r"sha256:([0-9a-f]{64})", rest) for name, version, rest in _PIN.findall(lock)}


def completed(found: dict[str, Any], lock: str, wheel: Path) -> dict[str, Any]:
    """KeyError where the environment holds what the lock does not name."""
    _, version, *_ = wheel.name.split("-")
    root = found["metadata"]["component"]
    root |= {"version": version, "purl": f"pkg:pypi/{root['name']}@{version}", "hashes": [_sha256(wheel)]}
    pins = locked(lock)
    for component in found["components"]:
        name = re.sub(r"[-_.]+", "-", component["name"]).lower()
        files = {
            "type": "distribution",
            "url": f"https://pypi.org/project/{name}/{component['version']}/#files",
            "comment": "requirements.lock takes any of these files",
            "hashes": [{"alg": "SHA-256", "content": each} for each in pins[name, component["version"]]],
        }
        component["externalReferences"] = [files, *component.get("externalReferences", ())]
    return found


def _sha256(file: Path) -> dict[str, str]:
    return {"alg": "SHA-256", "content": hashlib.sha256(file.read_bytes()).hexdigest()}


if __name__ == "__main__":
    read, dist = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[3])
    (wheel,) = dist.glob("*.whl")
    made = completed(read, Path(sys.argv[2]).read_text(), wheel)
    name = "-".join(wheel.name.split("-")[:2])
    (dist / f"{name}.cdx.json").write_text(json.dumps(made, indent=2, sort_keys=True) + "\n")
