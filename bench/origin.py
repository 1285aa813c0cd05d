"""The service behind everybody: an nginx that answers from its configuration, on the core of the load. What it costs
is never counted, and what it was asked tells hits from misses whatever a cache says of itself."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.client import asked, get
from bench.programs import ADDRESS, Cores, Running, found, free_port, program

ETAG = '"5e1f-bench"'
LARGE = 100 * 10**6  # bytes of /large
SIZES = {"tiny": 64, "1k": 1_000, "4k": 4_096}  # bytes of text in the JSON under each of these places
_WORD = 1_024  # nginx takes no word as long as its buffer of 4 KiB, but puts longer ones together
_CONF = """
{user} daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log stderr crit;
events {{ worker_connections 16384; }}
http {{
    access_log off; sendfile on; tcp_nopush on; default_type application/json;
    keepalive_requests 1000000000; keepalive_timeout 1h;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
    server {{
        listen {address}:{port} backlog=4096;
        location = /asked {{ stub_status; }}
        location = /large {{ alias {directory}/large; add_header Cache-Control no-store; etag off; }}
        {places}
    }}
}}
"""
_PLACE = """
        location /{name}/ {{
            add_header ETag '{etag}'; add_header Cache-Control 'public, max-age=86400'; set $word '{word}';
            return 200 '{{"uri":"$request_uri","text":"{text}"}}';
        }}"""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where it is, and how often it was asked."""

    running: Running

    @property
    def port(self) -> int:
        return self.running.port

    @property
    def url(self) -> str:
        return self.running.url

    def asked(self) -> int:
        """Requests so far, this one included."""
        words = asked(self.port, [get("/asked")])[0].body.split()
        return int(words[words.index(b"requests") + 3])


@contextmanager
def origin(directory: Path, on: Cores) -> Iterator[Origin]:
    """Missing where there is no nginx."""
    nginx, port = found("nginx", "nginx"), free_port()
    directory.mkdir(parents=True)
    with (directory / "large").open("wb") as file:
        file.truncate(LARGE)
    places = "".join(_place(name, size) for name, size in SIZES.items())
    conf = directory / "nginx.conf"
    conf.write_text(_CONF.format(directory=directory, address=ADDRESS, port=port, places=places, user=user()))
    command = [nginx, "-p", str(directory), "-c", str(conf)]
    with program(command, port=port, directory=directory, on=(on.load,)) as running:
        yield Origin(running)


def user() -> str:
    """The line that lets root's nginx work as root: somebody else could not look into the directory. Who is not root
    is spared its warning."""
    return "user root root;" if os.geteuid() == 0 else ""


def _place(name: str, size: int) -> str:
    times, rest = divmod(size, _WORD)
    return _PLACE.format(name=name, etag=ETAG, word="x" * _WORD, text="$word" * times + "x" * rest)
