"""The admin token: made once, kept in a file that only its owner can read, used again at every start."""

import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from proxy.errors import ConfigError, Problem

_NOWHERE = "nowhere, for {} cannot be kept ({}): set ADMIN_TOKEN and restart to have one"
_SANE = re.compile(r"[\x21-\x7e]{8,512}")


@dataclass(frozen=True, slots=True)
class AdminToken:
    """The token and, for the line at start, where it lies. None trusts local visitors (`admin.token: none`)."""

    value: str | None
    place: str

    def __repr__(self) -> str:
        return f"AdminToken(…, {self.place!r})"


def admin_token(setting: str | None, file: Path) -> AdminToken:
    """The token of the settings, or that of the file, made when there is none. ConfigError for one unfit."""
    if setting == "none":
        return AdminToken(None, "none: whoever reaches this over loopback may do everything")
    if setting is not None:
        return AdminToken(_sane(setting, "admin.token"), "given in the settings")
    try:
        return AdminToken(_kept(file), f"in {file}")
    except OSError as error:
        return AdminToken(secrets.token_urlsafe(32), _NOWHERE.format(file, error.strerror))


def unfit(file: Path) -> str | None:
    """What is wrong with the token in the file, as `admin_token` would find it; None when nothing is, or none is kept
    there yet. Nothing is made or changed."""
    try:
        with _opened(file) as kept:
            _sane(kept.read().strip(), str(file))
    except OSError:
        return None
    except ConfigError as error:
        return str(error)
    return None


def read_token(file: Path) -> str | None:
    """The token in the file, as the command line finds it; None when there is none to be read."""
    try:
        return file.read_text("ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _kept(file: Path) -> str:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not file.exists():
        _make(file)
    with _opened(file) as kept:
        if os.fstat(kept.fileno()).st_mode & 0o077:
            os.fchmod(kept.fileno(), 0o600)
        return _sane(kept.read().strip(), str(file))


def _opened(file: Path) -> TextIO:
    return os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW), encoding="latin-1")


def _make(file: Path) -> None:
    """Whole or not at all: another gateway that starts at the same time finds its own token or ours."""
    fresh = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as making:
            making.write(secrets.token_urlsafe(32) + "\n")
        os.link(fresh, file)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()


def _sane(token: str, place: str) -> str:
    if not _SANE.fullmatch(token):
        text = "a token has 8 to 512 visible ASCII characters and no spaces; delete the file or the setting to get one"
        raise ConfigError((Problem(place, text),))
    return token
