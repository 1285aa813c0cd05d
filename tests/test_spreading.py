"""A port that is shared among workers, and with nobody else."""

import socket
from collections.abc import Iterator

import pytest

from proxy.errors import ConfigError
from proxy.server.listening import bind
from proxy.server.spreading import _BALANCES, Sockets, spread


def accepted(share: Sockets) -> int:
    """How many connections wait in these sockets' queues."""
    number = 0
    for sock in share:
        sock.setblocking(False)
        while True:
            try:
                sock.accept()[0].close()
            except BlockingIOError:
                break
            number += 1
    return number


@pytest.fixture(params=["127.0.0.1", "localhost"])
def shares(request: pytest.FixtureRequest) -> Iterator[list[Sockets]]:
    made = spread(bind(request.param, 0), 3)
    yield made
    for sock in (sock for share in made for sock in share):
        sock.close()


def test_each_worker_has_sockets_for_every_address(shares: list[Sockets]) -> None:
    assert len(shares) == 3
    names = [{sock.getsockname() for sock in share} for share in shares]
    assert names[0] == names[1] == names[2]
    assert len({sock.fileno() for share in shares for sock in share}) == 3 * len(shares[0])


def test_connections_are_spread_and_none_is_lost(shares: list[Sockets]) -> None:
    clients = [socket.create_connection(shares[0][0].getsockname()[:2]) for _ in range(90)]
    numbers = [accepted(share) for share in shares]
    assert sum(numbers) == 90
    assert not _BALANCES or min(numbers) > 0
    for client in clients:
        client.close()


def test_nobody_else_gets_the_port(shares: list[Sockets]) -> None:
    host, port = shares[1][0].getsockname()[:2]
    with pytest.raises(ConfigError, match="is in use"):
        bind(host, port)


def test_what_cannot_be_bound_twice_is_shared_itself() -> None:
    """As every port where the system does not balance; here a socket of another kind stands for it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        shares = spread([ours], 2)
        assert shares[0] == (ours,)
        assert shares[1][0].family == socket.AF_UNIX
        shares[1][0].send(b"same")
        assert theirs.recv(4) == b"same"
        shares[1][0].close()
