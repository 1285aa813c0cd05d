"""Every parser of our own, fed with what nobody would write.

Each module is one family of parsers. `SEEDS` are well-formed inputs (the RFCs' examples first), `TOKENS` what they are
made of, and `check` takes any bytes: it raises AssertionError where a promise of the family is broken, and whatever
else leaves it is a bug too. `tests.test_fuzz_parsers` calls them with hypothesis, `python -m tests.fuzz` with atheris.
"""
