"""`cachegate serve`: run the gateway."""

import os
from collections.abc import Callable
from functools import partial
from socket import socket
from typing import Any

import click

from proxy import wiring
from proxy.cli import demo
from proxy.cli.directory import working_directory
from proxy.cli.options import given, settings_options
from proxy.eventloop import run
from proxy.obstacles import obstacles
from proxy.settings.load import Loaded, load


@click.command("serve")
@click.option("--demo", "with_demo", is_flag=True, help="where no upstream is configured, start a demo API as one")
@click.option("--allow-python-parser", is_flag=True, help="start even on aiohttp's slow and lenient parser")
@settings_options
def command(with_demo: bool, allow_python_parser: bool, **options: Any) -> int:
    """Run the gateway until SIGTERM. Flags win over the environment, then come .env and the YAML file.

    Every setting can be given by its YAML path: --set memory.max_object=2MiB
    """
    said = given(options)
    read = partial(load, config=said.config, sets=said.sets, environ=os.environ, cwd=working_directory())
    flags = said.flags
    api: socket | None = None
    if with_demo and not read(flags=flags, require_upstream=False).settings.upstream.url:
        api, url = demo.bind()
        # the port is another one at each start; a fixed id keeps the keys of what is stored
        flags = {**flags, "upstream.url": url, "upstream.id": "demo"}
    again = partial(read, flags=flags, also=obstacles)
    loaded = again()
    return run(_serve(loaded, again, allow_python_parser, api), loaded.settings.listen.loop)


async def _serve(loaded: Loaded, reload: Callable[[], Loaded], allow_python_parser: bool, api: socket | None) -> int:
    if api is None:
        return await wiring.serve(loaded, reload=reload, allow_python_parser=allow_python_parser)
    async with demo.running(api):
        return await wiring.serve(loaded, reload=reload, allow_python_parser=allow_python_parser)
