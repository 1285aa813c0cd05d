"""The parent's side of the journal of several workers (`invalidation.worker_log`): it has the log, and the one link to
the stream that instances share. It serves no request; what workers have to know lies in the ring before they are told
that a purge holds."""

import asyncio

from proxy.invalidation.lines import compact_copy, line
from proxy.invalidation.local import LocalLog
from proxy.invalidation.records import Purge, Spread
from proxy.invalidation.ring import Ring, Word
from proxy.invalidation.shared import SharedLog
from proxy.invalidation.worker_log import MICRO, Snapshot


class ParentLog:
    """What is appended to `log` here, and what is read into it from elsewhere, holds on every worker at once. `shared`
    is the link of that log where instances share a journal; it is started and closed with this."""

    def __init__(self, log: LocalLog, ring: Ring, shared: SharedLog | None = None) -> None:
        self._log = log
        self._ring = ring
        self._shared = shared
        self._said = ("", "")  # our name, and why we are not linked
        self._keeping: dict[int, asyncio.Task[bool]] = {}  # each ends with its write to the disk
        ring.set(Word.DURABLE, log.durable)
        ring.set(Word.NUMBER, log.journal.head)
        log.on_line = self._write
        if shared is not None:
            shared.on_proof = self._tell_proof
            self._tell_proof()

    def start(self) -> None:
        """Begin to link, where there is anything to link with; needs a running loop."""
        if self._shared is not None:
            self._shared.start()

    def append(self, purge: Purge) -> int:
        """Apply and tell every worker; the purge's number. `kept` says when it is on disk. Wants a running loop."""
        keeping = asyncio.ensure_future((self._shared or self._log).append(purge))
        number = self._log.journal.head
        self._keeping[number] = keeping
        keeping.add_done_callback(lambda _: self._kept(number))
        return number

    async def kept(self, number: int) -> bool:
        """Whether this purge will outlive the instance, once that is known."""
        keeping = self._keeping.get(number)
        return self._log.durable if keeping is None else await asyncio.shield(keeping)

    async def spread(self, id: str, seconds: float) -> Spread:
        """As `SharedLog.spread`."""
        if self._shared is None:
            return Spread({self._log.instance: "applied"}, complete=True)
        return await self._shared.spread(id, seconds)

    async def snapshot(self) -> Snapshot:
        """For a worker that starts now, or was overtaken."""
        chunks = compact_copy(self._log.journal.copy(), self._log.tie)
        at, instance, shared = self._ring.written, self._log.instance, self._shared
        if shared is None:
            return Snapshot(await asyncio.to_thread(b"".join, chunks), at, instance)
        reason = shared.reason
        return Snapshot(await asyncio.to_thread(b"".join, chunks), at, instance, True, shared.strict, reason)

    async def close(self) -> None:
        """Let what is being written reach the disk, and close the log and the ring."""
        while self._keeping:
            await asyncio.wait(self._keeping.values())
        await (self._shared or self._log).close()
        self._ring.close()

    def _write(self, text: bytes) -> None:
        """A line too long to be read in time stands for itself as one that was lost."""
        number = self._log.journal.head
        self._ring.write(number, text if self._ring.fits(text) else line({"lost": number}))

    def _tell_proof(self) -> None:
        shared = self._shared
        if shared is None:
            return
        proof, said = shared.proof, (shared.instance, shared.reason)
        if said != self._said:
            self._said = said
            self._write(line({"said": said}))
        self._ring.set(Word.UNLINKED, int(proof.unlinked * MICRO))
        self._ring.set(Word.LINKED, int(proof.until * MICRO))

    def _kept(self, number: int) -> None:
        self._keeping.pop(number, None)
        self._ring.set(Word.DURABLE, self._log.durable)
