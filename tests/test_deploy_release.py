"""deploy/release: what `make release` leaves in dist/ is the same at every build, says truly what it stands on, and is
verified by the lines of docs/releasing.md, which refuse whatever was changed (row 116)."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import Marker

from proxy.version import VERSION
from tests.support.pages import ROOT, blocks, typed

FILES = {f"cachegate-{VERSION}-py3-none-any.whl", f"cachegate-{VERSION}.tar.gz", f"cachegate-{VERSION}.cdx.json"}
SPACE = "cachegate-release"
SIGNERS = "deploy/release/allowed_signers"
WHOLE = 240  # seconds that a release may take
needs_openssh = pytest.mark.skipif(
    not shutil.which("ssh-keygen") or not shutil.which("git"), reason="there is no git or no OpenSSH on this machine"
)
pytestmark = needs_openssh


def tree(place: Path, mask: int = 0o022) -> Path:
    """This tree as it is now, committed in a repository of its own at a fixed time, its files made with this umask."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("this is no checkout of git's")
    for name in done.stdout.split("\0"):
        source = ROOT / name
        if source.is_file() and not source.is_symlink():
            target = place / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            target.chmod((0o777 if os.access(source, os.X_OK) else 0o666) & ~mask)
    (place / ".venv").symlink_to(sys.prefix)
    git(place, "init", "--quiet")
    commit(place)
    return place


def git(place: Path, *words: str) -> None:
    who = {f"GIT_{role}_{part}": "x@example.com" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    when = {"GIT_AUTHOR_DATE": "1795314042 +0000", "GIT_COMMITTER_DATE": "1795314042 +0000"}
    env = {"PATH": os.environ["PATH"], "HOME": str(place), "GIT_CONFIG_NOSYSTEM": "1", **who, **when}
    subprocess.run(["git", *words], cwd=place, env=env, check=True, capture_output=True)


def commit(place: Path) -> None:
    git(place, "add", "--all")
    git(place, "commit", "--quiet", "--message", "As it is")


def key(place: Path, *, named: bool) -> Path:
    """A key for this test alone; `named` among those whose signatures count, as of the last commit."""
    made = place.parent / f"{place.name}-key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "thrown away", "-f", made], check=True)
    if named:
        public = " ".join(made.with_suffix(".pub").read_text().split()[:2])
        with (place / SIGNERS).open("a") as signers:
            signers.write(f'releases@cachegate namespaces="cachegate-release" {public}\n')
        commit(place)
    return made


def release(place: Path, *words: str | Path, mask: int = 0o022) -> "subprocess.CompletedProcess[str]":
    script = f'umask {mask:o}; exec deploy/release/make "$@"'
    return subprocess.run(
        ["sh", "-c", script, "sh", *words], cwd=place, capture_output=True, text=True, timeout=WHOLE, check=False
    )


def verified(place: Path) -> bool:
    """Whether all that the page tells a user to type ends well, where he has the files of dist/ and the repository."""
    (block,) = [each for each in blocks(ROOT / "docs" / "releasing.md") if "-Y verify" in each.text]
    lines = "\n".join(line.line for line in typed(block))
    done = subprocess.run(
        ["bash", "-ec", lines], cwd=place / "dist", capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode == 0


def sums(place: Path) -> dict[str, str]:
    return {name: hashlib.sha256((place / "dist" / name).read_bytes()).hexdigest() for name in sorted(FILES)}


# -- what is refused before anything is made ---------------------------------------------------------------------------


def test_what_is_not_committed_is_not_released(tmp_path: Path) -> None:
    place = tree(tmp_path / "here")
    (place / "README.md").write_text("another\n")
    done = release(place)
    assert (done.returncode, done.stderr) == (2, "make release: there are changes that are not committed\n")


def test_nobody_signs_with_a_key_that_no_user_could_know(tmp_path: Path) -> None:
    place = tree(tmp_path / "here")
    done = release(place, key(place, named=False))
    assert done.returncode == 2
    assert "does not name the key" in done.stderr
    assert not (place / "dist").exists()


@pytest.mark.parametrize("made", [None, "no key at all\n"], ids=["missing", "another file"])
def test_a_key_that_cannot_be_read_is_what_is_blamed(made: str | None, tmp_path: Path) -> None:
    place = tree(tmp_path / "here")
    signing = tmp_path / "key"
    if made is not None:
        signing.write_text(made)
        signing.chmod(0o600)
    done = release(place, signing)
    said = f"{signing} cannot be read" if made is None else f"{signing} is none, or its passphrase is another"
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith("make release: SIGN wants ")
    assert done.stderr.endswith(f"; {said}\n")
    assert not (place / "dist").exists()


def test_make_hands_the_key_on() -> None:
    words = ["make", "--dry-run", "-o", ".venv/.deploy", "release", "SIGN=some/key"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "deploy/release/make some/key"


# -- a release ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree in which one was made and signed."""
    for module in ("build", "cyclonedx_py"):
        pytest.importorskip(module, reason="not installed: `make .venv/.deploy`")
    place = tree(tmp_path_factory.mktemp("release") / "here")
    done = release(place, key(place, named=True))
    if "No matching distribution" in done.stderr or "ConnectionError" in done.stderr:
        pytest.skip("no wheels can be had here")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == f"cachegate {VERSION}"
    assert {path.name for path in (place / "dist").iterdir()} == {*FILES, "SHA256SUMS", "SHA256SUMS.sig"}
    return place


@pytest.mark.slow
@pytest.mark.timeout(WHOLE * 2)
def test_another_checkout_makes_the_same_bytes(released: Path, tmp_path: Path) -> None:
    """At another time, by somebody with another umask, in another directory."""
    place = tree(tmp_path / "elsewhere", mask=0o077)
    shutil.copy(released / SIGNERS, place / SIGNERS)
    commit(place)
    assert release(place, mask=0o077).returncode == 0
    assert sums(place) == sums(released)


@pytest.mark.slow
@pytest.mark.timeout(WHOLE)
def test_a_changed_byte_is_refused(released: Path, tmp_path: Path) -> None:
    place = tmp_path / "copy"  # of what a user has
    shutil.copytree(released, place, symlinks=True, ignore=shutil.ignore_patterns("build"))
    assert verified(place)
    for name in (*FILES, "SHA256SUMS", "SHA256SUMS.sig"):
        file = place / "dist" / name
        sound = file.read_bytes()
        changed = bytearray(sound)
        changed[len(sound) // 2] ^= 1
        file.write_bytes(changed)
        assert not verified(place), name
        file.write_bytes(sound)
    assert verified(place)
    # Signed anew, by a key of one's own, or by ours for something else than a release.
    stranger = tmp_path / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", stranger], check=True)
    ours = released.parent / "here-key"
    tried = ((stranger, SPACE, False), (ours, "file", False), (ours, SPACE, True))
    for signer, space, good in tried:
        (place / "dist" / "SHA256SUMS.sig").unlink()
        words = ["ssh-keygen", "-q", "-Y", "sign", "-f", signer, "-n", space, place / "dist" / "SHA256SUMS"]
        subprocess.run(words, check=True, capture_output=True)
        assert verified(place) is good


@pytest.mark.slow
@pytest.mark.timeout(WHOLE)
def test_what_it_stands_on_is_what_the_lock_says(released: Path) -> None:
    document: dict[str, Any] = json.loads((released / "dist" / f"cachegate-{VERSION}.cdx.json").read_text())
    root = document["metadata"]["component"]
    wheel = sums(released)[f"cachegate-{VERSION}-py3-none-any.whl"]
    assert (root["name"], root["version"], root["purl"]) == ("cachegate", VERSION, f"pkg:pypi/cachegate@{VERSION}")
    assert root["hashes"] == [{"alg": "SHA-256", "content": wheel}]

    pins: dict[str, tuple[str, set[str]]] = {}
    for pin in re.split(r"^(?=[a-z0-9])", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE)[1:]:
        name, version, marker = re.match(r"(\S+)==(\S+)(?: ; ([^\\]+))?", pin).groups()  # type: ignore[union-attr]
        if name != "setuptools" and (marker is None or Marker(marker).evaluate()):  # that is for the build alone
            pins[name] = version, set(re.findall(r"sha256:(\w{64})", pin))
    found = {
        re.sub(r"[-_.]+", "-", each["name"]).lower(): (each["version"], _files(each)) for each in document["components"]
    }
    assert found == pins
    wanted = {each["ref"]: each.get("dependsOn", []) for each in document["dependencies"]}
    assert any(ref.startswith("aiohttp==") for ref in wanted[root["bom-ref"]])
    assert all(each.get("licenses") for each in document["components"])


@pytest.mark.slow
@pytest.mark.timeout(WHOLE)
def test_it_is_cyclonedx(released: Path) -> None:
    validation = pytest.importorskip("cyclonedx.validation.json")
    schema = pytest.importorskip("cyclonedx.schema")
    text = (released / "dist" / f"cachegate-{VERSION}.cdx.json").read_text()
    try:
        problem = validation.JsonStrictValidator(schema.SchemaVersion.V1_6).validate_str(text)
    except Exception as error:
        if type(error).__name__ != "MissingOptionalDependencyException":
            raise
        pytest.skip("what validates CycloneDX is not installed")
    assert problem is None


def _files(component: dict[str, Any]) -> set[str]:
    """The SHA-256 of the files that are said to be this component's."""
    (files,) = [each for each in component["externalReferences"] if each.get("comment", "").startswith("requirements")]
    assert {each["alg"] for each in files["hashes"]} == {"SHA-256"}
    return {each["content"] for each in files["hashes"]}
