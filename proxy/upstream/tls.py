"""TLS towards upstreams."""

import ssl
from pathlib import Path

from proxy.errors import ConfigError, Problem


def tls_context(
    ca_file: str | Path | None = None,
    verify: bool = True,
    client_cert: str | Path | None = None,
    client_key: str | Path | None = None,
    place: str = "upstream",
) -> ssl.SSLContext:
    """A client's context: `ca_file` takes the place of the system's store; `client_cert` may hold its key as well.

    Reads files, so it belongs to the start. ConfigError names the setting whose file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as e:  # ssl.SSLError is an OSError
        raise _problem(f"{place}.ca_file", ca_file, "PEM certificates", e) from e
    context.set_alpn_protocols(["http/1.1"])
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if client_cert is not None:
        try:
            # An encrypted key is refused instead of asked about on the terminal.
            context.load_cert_chain(client_cert, client_key, password="")
        except (OSError, ValueError) as e:
            what = (
                f"{place}.client_key" if client_key is not None and _readable(client_cert) else f"{place}.client_cert"
            )
            path = client_key if what.endswith("key") else client_cert
            raise _problem(what, path, "a PEM certificate and its unencrypted key", e) from e
    elif client_key is not None:
        raise ConfigError((Problem(f"{place}.client_key", "is of no use without client_cert"),))
    return context


def _problem(place: str, path: object, wanted: str, error: Exception) -> ConfigError:
    reason = error.strerror if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) else None
    return ConfigError((Problem(place, f"{path}: {reason or 'cannot be used'}; wanted: {wanted}"),))


def _readable(path: str | Path) -> bool:
    """Whether there is a certificate, so that the fault must be the key's."""
    try:
        return "BEGIN CERTIFICATE" in Path(path).read_text("latin-1")
    except OSError:
        return False
