"""A small crowd does what docs/scaling.md says of a large one, and the page quotes the run that was kept."""

import json

import pytest

from bench.crowd import LATEST, PAGE, SOURCE, measure
from bench.crowd_table import quantile, table
from bench.results import quoted
from tests.support.redis_servers import redis_server

KEPT = json.loads(LATEST.read_text())


@pytest.mark.timeout(120)
async def test_one_fetch_of_each_and_every_purge_reaches_all() -> None:
    async with redis_server() as redis:
        told = await measure(redis.url, 6, seconds=0.5, keys=3, purges=12, storm=60)
        assert (told.fetches, len(told.taken)) == (3, 3)
        assert len(told.applied) == 12  # a purge that not all have applied is an error of `measure`
        assert told.connections == 2 * 6  # one for commands, one that waits for purges
        assert min(told.coalescing.calls, told.purging.calls) > 0
        keys = await redis.command("DBSIZE")
        assert keys <= 3 + 2 * 3 + 4  # records, leases and who waits for them; stream, instances, and what finds them


def test_the_page_quotes_the_run_that_was_kept() -> None:
    page = PAGE.read_text()
    assert page == quoted(page, table(KEPT["runs"], KEPT["machine"]), SOURCE), "run `make crowd`"
    with pytest.raises(ValueError, match="wants the marks"):
        quoted("# Scaling\n", "", SOURCE)


def test_a_hundred_are_among_them() -> None:
    assert [run["instances"] for run in KEPT["runs"]] == [1, 10, 100]
    assert [run["fetches"] / run["keys"] for run in KEPT["runs"]] == [1, 1, 1]


def test_a_share_of_values_is_one_of_them() -> None:
    assert [quantile([3.0, 1.0, 2.0], share) for share in (0.1, 0.5, 0.99, 1.0)] == [1.0, 2.0, 3.0, 3.0]
