"""Connect, and learn what is at the other end: a client made for one server would be lost in a cluster."""

import re
from typing import NamedTuple

from proxy.redis.address import Address, Mode
from proxy.redis.dial import Client, Patience, dial, hang_up
from proxy.redis.errors import Away, Refused, Slow, translated

_HUNG_UP = re.compile("closed by server|reset by peer", re.IGNORECASE)


class Reached(NamedTuple):
    """A client that works, what kind of server it speaks to, and the server's clock in seconds."""

    client: Client
    mode: Mode
    seconds: float


async def reach(address: Address, patience: Patience) -> Reached:
    """Away when it cannot be reached, or is not what the settings say; other errors as they come."""
    client = dial(address, address.mode, patience)
    try:
        await client.initialize()
        mode = address.mode if address.mode is Mode.CLUSTER else await _found(client, address.mode)
        if mode is Mode.CLUSTER and address.mode is not Mode.CLUSTER:
            await hang_up(client)
            client = dial(address, Mode.CLUSTER, patience)
            await client.initialize()
        seconds, micros = await client.time()
    except Exception as error:
        await hang_up(client)
        raise _about_tls(error, address) from error
    except BaseException:
        await hang_up(client)
        raise
    return Reached(client, mode, seconds + micros / 1e6)


def _about_tls(error: Exception, address: Address) -> Exception:
    """Two ends of which one alone speaks TLS understand nothing: a server waits for more, or hangs up."""
    match failure := translated(error):
        case Slow() if address.tls:
            return Slow(f"{failure.reason}; does it speak TLS? redis:// is without")
        case Away() if not address.tls and not address.unix and _HUNG_UP.search(failure.reason):
            return Away(f"{failure.reason.rstrip('.')}; does it want TLS? rediss:// is with it")
        case _:
            return failure


async def _found(client: Client, wanted: Mode) -> Mode:
    """What it is; a server that does not say is taken for a single one, and a MOVED would tell."""
    try:
        said = str((await client.info("server")).get("redis_mode"))
    except Exception as error:
        if not isinstance(failure := translated(error), Refused):
            raise failure from error
        said = ""
    if said == "sentinel":
        raise Away("it is a Sentinel: write redis+sentinel://host:port/service")
    if said == "cluster":
        if wanted is not Mode.AUTO:
            raise Away("it is a cluster: set redis.mode to cluster or auto")
        return Mode.CLUSTER
    return Mode.SINGLE if wanted is Mode.AUTO else wanted
