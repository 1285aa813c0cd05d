"""The journal against an oracle that keeps every record (reliability invariant 3; architecture "Invalidation").

Never laxer than the oracle, whatever was compacted, forgotten or replayed; exactly as strict from the floor up.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from proxy.entry import Entry
from proxy.invalidation.journal import DEAD, SOFTS, Journal
from proxy.invalidation.lines import compact_copy, replay
from proxy.invalidation.records import Kind
from tests.support.journal import EPOCH, Oracle, entry, purge

HOSTS = ("a", "b:81", "")
TARGETS = ("/x", "/x?", "/x?q=1", "/y/x", "/y/z?q=1")
VARIES = ((), (("accept", "html"),), (("accept", "text"),))
URLS = [f"http://{host}{target}" if host else target for host in HOSTS for target in TARGETS]
KEYS = [entry(url, vary=vary).key for url in URLS[::4] for vary in VARIES]
PATTERNS = ("*", "/x", "/y/*", "*x", "//a/*", "//b*/y/*", "//?/x")
NAMES = {
    Kind.URL: [f"{host}|{target}" for host in HOSTS for target in TARGETS],
    Kind.KEY: [*KEYS, *{key.partition(".")[0] for key in KEYS}],
    Kind.PATTERN: list(PATTERNS),
    Kind.TAG: ["t", "u", "v"],
    Kind.RULE: ["", "r", "s"],
    Kind.NAMESPACE: ["n", "m"],
}
ENTRIES = st.builds(
    entry,
    st.sampled_from(URLS),
    st.just(0),
    tags=st.lists(st.sampled_from(NAMES[Kind.TAG]), unique=True, max_size=2).map(tuple),
    rule=st.sampled_from(["", "r", "s"]),
    namespace=st.sampled_from(["", "n"]),
    vary=st.sampled_from(VARIES),
)
RECORDS = st.sampled_from(sorted(NAMES)).flatmap(
    lambda kind: st.tuples(st.just(kind), st.lists(st.sampled_from(NAMES[kind]), min_size=1, max_size=3))
)


class JournalModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.oracle = Oracle()
        self.journal = Journal(EPOCH)
        self.entries: list[Entry] = []
        self.checked: dict[int, int] = {}
        self.softs = 0
        self.replayed = False

    @initialize(size=st.sampled_from([1, 2, 5, 16, 1000]))
    def size(self, size: int) -> None:
        self.journal = Journal(EPOCH, size)

    @rule(record=RECORDS, soft=st.booleans(), at=st.integers(0, 9))
    def purge(self, record: tuple[Kind, list[str]], soft: bool, at: int) -> None:
        made = purge(record[0], *record[1], soft=soft, at=float(at))
        self.oracle.records.append((self.journal.append(made), made))
        self.softs += soft

    @rule(soft=st.booleans(), at=st.integers(0, 9), unlikely=st.integers(0, 4))
    def purge_all(self, soft: bool, at: int, unlikely: int) -> None:
        if unlikely == 0:
            made = purge(Kind.ALL, soft=soft, at=float(at))
            self.oracle.records.append((self.journal.append(made), made))
            self.softs += soft

    @rule(stored=ENTRIES)
    def fetch(self, stored: Entry) -> None:
        parts = stored.parts
        url = parts.url if parts.host else parts.target
        seen = self.journal.head
        again = entry(url, seen, tags=stored.tags, rule=stored.rule, namespace=parts.namespace, vary=stored.vary)
        self.entries.append(again)

    @rule()
    def restart(self) -> None:
        written = b"".join(compact_copy(self.journal.copy()))
        back = replay(written, self.journal.records)
        assert back is not None
        assert back.head == self.journal.head
        self.journal, self.replayed = back, True

    @rule()
    def check_all(self) -> None:
        """What a tier does: it remembers up to which head an entry was found good."""
        for i, stored in enumerate(self.entries):
            if self.journal.ended(stored, self.checked.get(i, 0)) is None:
                self.checked[i] = self.journal.head

    @invariant()
    def answers_are_those_of_the_oracle(self) -> None:
        floor = self.journal.copy().floor
        for i, stored in enumerate(self.entries):
            wanted = self.oracle.ended(stored)
            checked = self.checked.get(i, 0)
            for got, seen in (
                (self.journal.ended(stored), stored.position.local),
                (self.journal.ended(stored, checked), max(checked, stored.position.local)),
            ):
                if wanted is not None:
                    assert got is not None, "an acknowledged purge was undone"
                    assert got <= wanted
                if seen >= floor and (self.softs <= SOFTS or wanted in (None, DEAD)):
                    assert got == wanted, "stricter, though nothing that it needs was forgotten"

    @invariant()
    def the_last_purge_is_counted_once(self) -> None:
        floor = self.journal.copy().floor
        if self.oracle.records and not self.replayed:
            seq = self.oracle.records[-1][0]
            for stored in self.entries:
                if stored.position.local >= floor:
                    assert self.journal.alive_before(stored, seq) is self.oracle.alive_before(stored, seq)


JournalModel.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestJournalModel = JournalModel.TestCase
