"""Varnish with its answers in memory (malloc), the built-in VCL and the default pools of threads. Its log in shared
memory is on, as it always is."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.origin import Origin
from bench.programs import ADDRESS, Cores, Running, found, free_port, program

NAME = "Varnish"
_VCL = """vcl 4.1;
backend default {{ .host = "{address}"; .port = "{upstream}"; }}
"""


@contextmanager
def varnish(directory: Path, on: Cores, origin: Origin) -> Iterator[Running]:
    """Missing where it is not installed. Its manager compiles the VCL before it takes connections."""
    path, port = found("varnishd", "varnish"), free_port()
    directory.mkdir(parents=True)
    vcl = directory / "bench.vcl"
    vcl.write_text(_VCL.format(address=ADDRESS, upstream=origin.port))
    # no jail: its worker would be a user who may not look into this directory
    command = [
        path,
        "-j",
        "none",
        "-F",
        "-n",
        str(directory / "work"),
        "-a",
        f"{ADDRESS}:{port}",
        "-T",
        "none",
        "-f",
        str(vcl),
    ]
    with program([*command, "-s", "malloc,1g"], port=port, directory=directory, on=on.first) as running:
        yield running


def version() -> str:
    """Such as 7.1.1. Missing where it is not installed."""
    said = subprocess.run([found("varnishd", "varnish"), "-V"], capture_output=True, text=True, check=True)
    match = re.search(r"varnish-(\S+)", said.stdout + said.stderr)
    return match[1] if match else "unknown"
