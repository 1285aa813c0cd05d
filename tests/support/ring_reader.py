"""A process that reads a ring which another one writes, until the last record; says what it saw as JSON."""

import json
import sys

from proxy.invalidation.ring import RingView, Word


def content(number: int) -> bytes:
    """What the writer writes under a number: no two are alike in length and bytes."""
    return b"%d|" % number * (1 + number * 7919 % 300)


def main(fd: int, last: int) -> None:
    view = RingView(fd, 0)
    seen = lost = number = 0
    while number < last:
        if not view.behind:
            continue
        found = view.read()
        if found is None:
            lost += 1
            number = view.get(Word.NUMBER)
            continue
        for each in found:
            told = int(each.partition(b"|")[0])
            # After a loss the number may be ahead of what is read next, never behind it.
            assert told == number + 1 or (lost and told <= number), (told, number, lost)
            assert each == content(told)
            number = max(number, told)
            seen += 1
            if seen == 1:
                print("reading", flush=True)
    print(json.dumps({"seen": seen, "lost": lost}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
