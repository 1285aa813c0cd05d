"""The fields of stored answers: those of one service are alike, and what they have alike lies in memory once.

Which names follow each other is shared by all messages that have the same ones (`names`). Values are shared as far as
they are short and were seen lately; of a field that is another in each answer only the value is kept.
"""

from proxy.message import Fields
from proxy.names import Order, Values
from proxy.policy.memo import Memo

_HEADS = 256  # whole heads per generation
_HEAD = 1024  # bytes of values of one that is remembered
_VALUES = 2048  # values per generation
_VALUE = 128  # bytes of one that is remembered


class StoredFields(Fields):
    """Fields that share what they can."""

    __slots__ = ()

    def __init__(self, order: Order, values: Values) -> None:
        self.order = order
        self.values = values


class Alike:
    """What many stored answers have alike, as far as it was seen lately. Threads may ask too: what two of them ask for
    at once may be there twice."""

    def __init__(self) -> None:
        self._heads: Memo[tuple[Order, Values], StoredFields] = Memo(_HEADS)
        self._values: Memo[bytes, bytes] = Memo(_VALUES)

    def __call__(self, fields: Fields) -> StoredFields:
        """The same fields, to be stored."""
        if isinstance(fields, StoredFields):
            return fields
        order, values = fields.order, fields.values
        known = self._heads.get((order, values))
        if known is None:
            values = tuple(map(self._shared, values))
            known = StoredFields(order, values)
            if order.lasting and sum(map(len, values)) <= _HEAD:
                self._heads.put((order, values), known)
        return known

    def _shared(self, text: bytes) -> bytes:
        if len(text) > _VALUE:
            return text
        known = self._values.get(text)
        if known is None:
            self._values.put(text, text)
        return text if known is None else known


stored_fields = Alike()  # one memory for the process
