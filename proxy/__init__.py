"""Cachegate: an async caching HTTP gateway that can say why a request was a miss."""

from typing import Any

__all__ = ["Cachegate", "Settings", "create_app"]


def __getattr__(name: str) -> Any:
    """The public names, loaded when they are first asked for: `cachegate --help` needs none of them."""
    if name == "create_app":
        from proxy.wiring import create_app

        return create_app
    if name == "Cachegate":
        from proxy.embed import Cachegate

        return Cachegate
    if name == "Settings":
        from proxy.settings import Settings

        return Settings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
