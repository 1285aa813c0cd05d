"""What Redis could not do, told apart by what it means for us."""

import re

from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    AuthorizationError,
    BusyLoadingError,
    MaxConnectionsError,
    NoPermissionError,
    ResponseError,
)
from redis.exceptions import TimeoutError as TimedOut

from proxy.errors import StoreError

_OF_SCRIPT = re.compile(r"[.,]? script: [0-9a-f]+, on @user_script:[0-9]+\.?$")  # nothing that an operator could use
FULL = "OOM"
READ_ONLY = ("READONLY", "MISCONF", "NOREPLICAS")


class RedisError(StoreError):
    """A command was not done. `reason` is one line for the operator, without secrets."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Away(RedisError):
    """There is no answer to be had now: no connection, not in time, or nobody asks at the moment."""


class Slow(Away):
    """It did not answer in time."""


class Refused(RedisError):
    """It answered with an error. `word` is the first of the error: OOM, READONLY, WRONGTYPE, NOPERM, ..."""

    def __init__(self, word: str, reason: str) -> None:
        self.word = word
        super().__init__(reason)

    @property
    def for_writes(self) -> bool:
        """Whether every write would be refused now."""
        return self.word == FULL or self.word in READ_ONLY


def translated(error: BaseException) -> RedisError:
    """redis-py's and the system's exceptions in our words."""
    match error:
        case RedisError():
            return error
        case AuthenticationError() | AuthorizationError() | AuthenticationWrongNumberOfArgsError():
            return Away("the user or password is refused; see redis.username and redis.password")
        case TimedOut() | TimeoutError():
            return Slow("no answer in time")
        case BusyLoadingError():
            return Away("it is loading its data")
        case MaxConnectionsError():
            return Away("all connections are in use; see redis.pool")
        case MasterNotFoundError():  # its own text shows the insides of each client that it tried
            return Away("no Sentinel that answers knows a primary of that name")
        case NoPermissionError():
            return Refused("NOPERM", f"the ACL forbids it: {error}")
        case ResponseError():
            text = _OF_SCRIPT.sub("", str(error))
            word = _word(error, text)
            if text.startswith("SELECT is not allowed"):
                return Away("it is a cluster, which has only db 0; see redis.db")
            if word in ("NOAUTH", "WRONGPASS"):
                return Away("the user or password is refused; see redis.username and redis.password")
            return Refused(word, text if text.startswith(word) else f"{word} {text}")
        case _:
            return Away(str(error) or type(error).__name__)


def _word(error: ResponseError, text: str) -> str:
    """redis-py takes the first word off where it has a class of its own for it."""
    known = {"OutOfMemoryError": FULL, "ReadOnlyError": "READONLY", "NoScriptError": "NOSCRIPT"}.get(
        type(error).__name__
    )
    first = text.partition(" ")[0]
    return known or (first if first.isupper() else "ERR")
