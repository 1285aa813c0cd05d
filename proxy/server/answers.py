"""What may be answered again, by all that was read of the request to answer it."""

from proxy.server.ready import Ready


class Answers:
    """Two generations of at most `bound` answers each: what is asked for again stays, what is not leaves after two
    turns. An answer has two names, its target and everything else: of those there are few, so that the first is all
    that is compared byte by byte."""

    __slots__ = ("_bound", "_count", "_new", "_old")

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._count = 0  # of the new generation
        self._new: dict[object, dict[bytes, Ready]] = {}
        self._old: dict[object, dict[bytes, Ready]] = {}

    def __len__(self) -> int:
        return sum(len(among) for generation in (self._new, self._old) for among in generation.values())

    def get(self, values: object, target: bytes) -> Ready | None:
        among = self._new.get(values)
        known = None if among is None else among.get(target)
        return self._recall(values, target) if known is None else known

    def put(self, values: object, target: bytes, answer: Ready) -> None:
        """Remember it from now on, instead of what was remembered under the same names."""
        if self._count >= self._bound:
            self._turn()
        among = self._new.setdefault(values, {})
        before = among.get(target)
        if before is None:
            self._count += 1
        else:
            before.leave()
        among[target] = answer

    def clear(self) -> None:
        """Forget all of them."""
        self._turn()
        self._turn()

    def _recall(self, values: object, target: bytes) -> Ready | None:
        among = self._old.get(values)
        known = None if among is None else among.pop(target, None)
        if known is not None:
            self.put(values, target, known)
        return known

    def _turn(self) -> None:
        for among in self._old.values():
            for answer in among.values():
                answer.leave()
        self._old, self._new, self._count = self._new, {}, 0
