"""What is installed: a wheel that builds and runs alone, and the names that others import (rows 26, 116). That no
import goes round in a circle is in test_layers."""

import inspect
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

import proxy
from proxy import create_app
from proxy.store import Store
from proxy.store.loading import VERBS
from proxy.version import VERSION

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is packed."""
    pytest.importorskip("setuptools", "77")
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md", "requirements.lock"):
        shutil.copy(ROOT / name, source)
    for name in ("proxy", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    return source


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, by the builder that the locks name, without asking an index for anything."""
    pytest.importorskip("pip")
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-index", "--no-build-isolation", "-q", "-w"]
    subprocess.run([*command, str(out), str(source)], check=True, timeout=120)
    (made,) = out.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel; what it depends on is read from where the tests have it."""
    place = tmp_path_factory.mktemp("venv")
    venv.create(place, with_pip=False, symlinks=True)
    python = place / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "-q"]
    subprocess.run([*command, str(wheel)], check=True, timeout=120)
    (packages,) = place.glob("lib/python*/site-packages")
    (packages / "needs.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    assert wheel.name == f"cachegate-{VERSION}-py3-none-any.whl"
    names = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    ours = {path.relative_to(ROOT).as_posix() for path in (ROOT / "proxy").rglob("*.py")}
    dashboard = ROOT / "proxy" / "server" / "admin" / "dashboard"
    ours |= {path.relative_to(ROOT).as_posix() for path in dashboard.iterdir()}
    assert ours <= names
    assert "proxy/py.typed" in names
    assert {name.partition("/")[0] for name in names} == {"proxy"}


def test_the_sdist_holds_what_the_wheel_is_made_of(source: Path, wheel: Path, tmp_path: Path) -> None:
    script = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
    run(sys.executable, "-c", script, tmp_path, cwd=source)
    with tarfile.open(tmp_path / f"cachegate-{VERSION}.tar.gz") as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames() if ".egg-info" not in name}
    packed = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == {name for name in names if name.startswith("proxy/") and not (source / name).is_dir()}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "requirements.lock"} <= names
    assert "tests" not in {name.partition("/")[0] for name in names}


def test_it_runs_where_it_was_installed(installed: Path, tmp_path: Path) -> None:
    python, command = installed / "bin" / "python", installed / "bin" / "cachegate"
    assert run(command, "--version", cwd=tmp_path).split() == ["cachegate", VERSION]
    assert run(python, "-m", "proxy", "--version", cwd=tmp_path).split() == ["cachegate", VERSION]
    place = run(python, "-c", "import proxy; print(proxy.__file__)", cwd=tmp_path).strip()
    assert Path(place).is_relative_to(installed)
    example = ROOT / "config" / "examples" / "static.yaml"
    assert run(command, "check", example, cwd=tmp_path).startswith("ok: 2 rules, ")


def test_the_public_names() -> None:
    """Whoever takes one of these away, or changes how it is called, breaks somebody's program."""
    assert proxy.__all__ == ["Cachegate", "Settings", "create_app"]
    assert all(getattr(proxy, name) is not None for name in proxy.__all__)
    assert str(inspect.signature(create_app)) == (
        "(settings: proxy.settings.model.Settings | collections.abc.Mapping[str, typing.Any] | str | pathlib.Path)"
        " -> aiohttp.web_app.Application"
    )
    verbs = [name for name, _ in inspect.getmembers(Store, inspect.isfunction) if not name.startswith("_")]
    assert sorted(verbs) == sorted(VERBS) == ["clear", "close", "delete", "get", "put", "scan"]
