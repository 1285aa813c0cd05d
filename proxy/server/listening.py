"""Sockets, certificates and limits of the operating system: what can be wrong here is found before anything starts."""

import errno
import resource
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

import aiohttp
from aiohttp import http_parser

from proxy.errors import ConfigError, Problem

BACKLOG = 1024
_OLDEST = (3, 14, 3)
_MANY = 1 << 20  # files, where the system names no number
_OWN_FILES = 48  # those of a process that serves nobody yet, and of starting another
_KEPT_BACK = 512  # file descriptors that are not for clients: upstreams, tiers, logs


def bind(host: str, port: int, setting: str = "listen") -> tuple[socket.socket, ...]:
    """Take the port for ourselves alone on every address of `host`; port 0 lets the system choose. ConfigError when
    it is taken, or the host is none of ours."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise _problem(f"{setting}.host", f"{host!r} is no address of this machine ({error.strerror})") from error
    bound: list[socket.socket] = []
    failure: OSError | None = None
    for family, _, _, _, address in sorted(set(found)):
        chosen = bound[0].getsockname()[1] if bound else port
        try:
            bound.append(_bound(family, (address[0], chosen, *address[2:])))
        except OSError as error:
            failure = error
            if error.errno == errno.EADDRINUSE:
                break  # of localhost's two addresses, one alone would be a trap
    if bound and (failure is None or failure.errno != errno.EADDRINUSE):
        return tuple(bound)
    for sock in bound:
        sock.close()
    raise _problem(f"{setting}.port", _why(host, port, failure)) from failure


def _bound(family: int, address: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # past TIME_WAIT, not past another listener
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _why(host: str, port: int, failure: OSError | None) -> str:
    match failure.errno if failure else None:
        case errno.EADDRINUSE:
            return f"port {port} on {host} is in use; stop what listens there, or choose another port"
        case errno.EACCES:
            return f"port {port} needs more rights than this user has; choose one above 1023"
    return f"cannot listen on {host} port {port}: {failure.strerror if failure else 'no address'}"


def urls(sockets: Sequence[socket.socket], *, tls: bool) -> list[str]:
    """Where the sockets can be reached."""
    scheme = "https" if tls else "http"
    names = [sock.getsockname()[:2] for sock in sockets]
    return [f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}" for host, port in names]


class ServerTls:
    """Our certificate. `context` stays the same over reloads, so that new handshakes use the new files."""

    def __init__(self, cert: Path, key: Path | None) -> None:
        self._files = cert, key
        self.context = self._loaded()
        self.context.set_alpn_protocols(["http/1.1"])

    def reload(self) -> None:
        """Read the files again; ConfigError when they are wrong, and then the old ones go on to hold."""
        self._loaded()
        self.context.load_cert_chain(*self._files)

    def _loaded(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(*self._files, password=_no_password)
        except (OSError, ValueError) as error:
            text = f"cannot be used: {error.strerror or error}" if isinstance(error, OSError) else str(error)
            raise _problem("listen.tls_cert", f"{self._files[0]}: {text}") from error
        return context


def _no_password() -> str:
    raise ValueError("the key has a password; nobody is there to type it")


def allowed_files() -> int:
    """How many files this process may have open once its limit is raised."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return _MANY if hard == resource.RLIM_INFINITY else hard


def raise_nofile(taken: int = 0) -> int:
    """Raise the limit of open files to what is allowed; how many client connections that leaves room for beside the
    files that are `taken`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    except (OSError, ValueError):
        pass  # macOS calls its limit infinite and then refuses it
    files = _MANY if soft == resource.RLIM_INFINITY else soft
    return files - min(_KEPT_BACK + taken, files // 2)


def check_files(workers: int, sockets: int) -> None:
    """Raise the limit of open files to what is allowed, and see that `workers` with so many listening `sockets` each
    fit into it. ConfigError with the way out."""
    raise_nofile()
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    each = sockets + 1 if workers > 1 else sockets  # its sockets, and the link to it
    wanted = _OWN_FILES + workers * each
    if files == resource.RLIM_INFINITY or wanted <= files:
        return
    fit = (files - _OWN_FILES) // (sockets + 1)
    less = f", or take {fit} workers at most" if fit > 1 else ""
    text = f"{workers} need {wanted} open files, and the limit here is {files}: raise it (ulimit -n){less}"
    raise _problem("listen.workers", text)


def check_parser(*, allow_python_parser: bool = False) -> None:
    """Refuse the parsers that read requests more loosely than we promise. ConfigError with the way out."""
    version = tuple(int(part) for part in aiohttp.__version__.split(".")[:3] if part.isdigit())
    if version < _OLDEST:
        raise _problem("aiohttp", f"{aiohttp.__version__} is too old: pip install 'aiohttp>=3.14.3'")
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy and not allow_python_parser:
        text = "runs on its pure-Python parser, which is slow and lenient: install a wheel with its C extension"
        raise _problem("aiohttp", f"{text} (unset AIOHTTP_NO_EXTENSIONS), or give --allow-python-parser")


def _problem(place: str, text: str) -> ConfigError:
    return ConfigError((Problem(place, text),))
