"""What an instance shares with others through Redis, put together: the client, the tier, the leases, the census."""

from dataclasses import replace

from proxy.redis.address import Address, Mode
from proxy.settings.sections import RedisSettings

_SERVICE = "mymaster"  # what Sentinels call a primary where nobody chose a name


def address_of(redis: RedisSettings) -> Address:
    """Where Redis is: `redis.url`, else its parts."""
    if redis.url is not None:
        address = Address.parse(redis.url.get_secret_value())
        return replace(address, mode=Mode(redis.mode)) if address.mode is Mode.AUTO else address
    mode = Mode(redis.mode)
    return Address(
        nodes=((redis.host, redis.port),),
        mode=mode,
        db=redis.db,
        username=redis.username or None,
        password=redis.password.get_secret_value() if redis.password else None,
        service=_SERVICE if mode is Mode.SENTINEL else "",
    )
