"""nginx as a cache: `proxy_cache` on the same disk as our own files, kept connections both ways, no access log."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.origin import Origin, user
from bench.programs import ADDRESS, Cores, Running, found, free_port, program

NAME = "nginx"
# The limits on requests of a connection are raised: at 1,000, the default, connecting anew would be counted too.
# open_file_cache spares it the open and the close of a file that it has answered from before.
_CONF = """
{user} daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log stderr crit;
events {{ worker_connections 16384; }}
http {{
    access_log off; sendfile on; tcp_nopush on; default_type application/json;
    keepalive_requests 1000000000; keepalive_timeout 1h;
    open_file_cache max=20000 inactive=1h; open_file_cache_valid 1h;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
    proxy_cache_path {directory}/cache levels=1:2 keys_zone=bench:256m max_size=8g inactive=1h use_temp_path=off;
    upstream origin {{
        server {address}:{upstream}; keepalive 64; keepalive_requests 1000000000; keepalive_timeout 1h;
    }}
    server {{
        listen {address}:{port} backlog=4096;
        location / {{
            proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_set_header Host $host; proxy_cache bench; proxy_max_temp_file_size 0;
        }}
    }}
}}
"""


@contextmanager
def nginx(directory: Path, on: Cores, origin: Origin) -> Iterator[Running]:
    """Missing where it is not installed."""
    path, port = found("nginx", "nginx"), free_port()
    directory.mkdir(parents=True)
    conf = directory / "nginx.conf"
    given = {"directory": directory, "address": ADDRESS, "port": port, "upstream": origin.port, "user": user()}
    conf.write_text(_CONF.format(**given))
    command = [path, "-p", str(directory), "-c", str(conf)]
    with program(command, port=port, directory=directory, on=on.first) as running:
        yield running


def version() -> str:
    """Such as 1.22.1. Missing where it is not installed."""
    said = subprocess.run([found("nginx", "nginx"), "-v"], capture_output=True, text=True, check=True).stderr
    match = re.search(r"nginx/(\S+)", said)
    return match[1] if match else said.strip()
