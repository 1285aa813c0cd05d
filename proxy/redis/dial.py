"""redis-py clients for an address, with its patience and retries set to ours: its defaults wait for seconds."""

from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.cluster import LoadBalancingStrategy
from redis.exceptions import ConnectionError as Unconnected

from proxy.redis.address import Address, Mode

Client = Redis | RedisCluster


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds to connect and for an answer, and how many connections there may be."""

    connect: float = 0.25
    read: float = 0.25
    pool: int = 50


def dial(address: Address, mode: Mode, patience: Patience) -> Client:
    """A client, not connected yet; `auto` is taken for a single server. One retry, and only where a connection broke:
    the first command after a restart of the server finds a dead connection, while a second wait helps nobody."""
    options = _options(address, patience)
    match mode:
        case Mode.CLUSTER:
            nodes = [ClusterNode(host, port) for host, port in address.nodes]
            return RedisCluster(
                startup_nodes=nodes,
                load_balancing_strategy=LoadBalancingStrategy.ROUND_ROBIN_REPLICAS if address.replicas else None,
                require_full_coverage=False,
                **options,
            )
        case Mode.SENTINEL:
            asked = {**options, "username": address.sentinel_username, "password": address.sentinel_password}
            sentinel = Sentinel(  # type: ignore[no-untyped-call]
                address.nodes, sentinel_kwargs=asked, db=address.db, **options
            )
            client: Redis = sentinel.master_for(address.service)
            return client
        case Mode.SINGLE | Mode.AUTO:
            if address.unix:
                return Redis(unix_socket_path=address.unix, db=address.db, **options)
            host, port = address.nodes[0]
            return Redis(host=host, port=port, db=address.db, **options)


def _options(address: Address, patience: Patience) -> dict[str, Any]:
    options: dict[str, Any] = {
        "username": address.username,
        "password": address.password,
        "socket_connect_timeout": patience.connect,
        "socket_timeout": patience.read,
        "max_connections": patience.pool,
        "retry": Retry(NoBackoff(), 1, supported_errors=(Unconnected,)),
        "protocol": 2,
        "driver_info": None,  # no CLIENT SETINFO: not every managed Redis allows CLIENT
    }
    if address.tls:
        options["ssl"] = True
        options["ssl_ca_certs"] = address.ca_file
        options["ssl_cert_reqs"] = "required" if address.verify else "none"
        options["ssl_check_hostname"] = address.verify
    return options


async def hang_up(client: Client) -> None:
    """Close its connections; an error on the way out is nobody's loss."""
    try:
        await client.aclose()
    except Exception:  # noqa: S110
        pass
