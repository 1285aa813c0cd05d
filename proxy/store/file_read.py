"""How a record is read from its file. Everything here blocks, and belongs into a worker thread."""

from collections.abc import Callable

from proxy.entry import Entry
from proxy.store import codec
from proxy.store.codec import HEADER, Header
from proxy.store.file_body import AbsentBody, FileBody
from proxy.store.file_dir import Directory
from proxy.store.file_index import Record

WHOLE = 1024 * 1024  # bodies up to this are read at once and checked at every read


def read_whole(directory: Directory, record: Record, on_damage: Callable[[], None]) -> Entry | None:
    """The one function that reads an answer from disk: a large body is left open, to be read in parts. None when there
    is no file; BadRecord or Foreign when it is not the record's."""
    file = directory.open(record.key)
    if file is None:
        return None

    def left_open(header: Header) -> FileBody:
        return FileBody(directory, file, HEADER, header, record.proof, on_damage)

    try:
        entry = codec.read(file, record.key, WHOLE, left_open)
    except BaseException:
        file.close()
        raise
    if entry.body.data is not None:
        file.close()
    return entry


def read_head(directory: Directory, record: Record, on_damage: Callable[[], None]) -> Entry | None:
    """As `read_whole`, all but the body."""
    file = directory.open(record.key)
    if file is None:
        return None
    try:
        return codec.read(file, record.key, -1, lambda header: AbsentBody(header.body_size))
    finally:
        file.close()
