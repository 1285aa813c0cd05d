"""What the soak judges by: each of its oracles says no when it has to, and a seed chooses the same faults again."""

from dataclasses import replace
from itertools import islice

import pytest

from tests.soak.api import Api, Mood, big
from tests.soak.faults import FAULTS, plan
from tests.soak.gauges import Sample, leaked, plots, table
from tests.soak.versions import PATHS, Versions, content, fields
from tests.soak.weather import LISTED, Weather
from tests.support.origin import Origin
from tests.support.rawtcp import raw

PATH = PATHS[1]
BEFORE = Sample(10.0, 0, 2, 150 << 20, 60, 20, 1 << 20, 1 << 20, 1 << 20, 1000, "quiet")


def said(version: int, **more: str) -> dict[str, str]:
    return {**dict(fields(PATH, version)), **more}


def test_a_seed_chooses_the_same_faults_again_and_all_of_them() -> None:
    first, again, other = (list(islice(plan(seed, [1, 1, 2]), 2 * len(FAULTS))) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    for each in (first, other):
        assert {planned.faults[0].name for planned in each[: len(FAULTS)]} == {fault.name for fault in FAULTS}
        assert all(len({fault.part for fault in planned.faults}) == len(planned.faults) <= 2 for planned in each)
        assert any(len(planned.faults) == 2 for planned in each)


def test_one_kind_of_fault_can_be_chosen() -> None:
    planned = list(islice(plan(4, [1, 2], "Redis"), 20))
    assert {each.part for one in planned for each in one.faults} == {"redis"}
    assert all(len(one.faults) == 1 for one in planned)


def test_without_several_workers_none_of_them_is_killed() -> None:
    names = {fault.name for planned in islice(plan(3, [1, 1]), 100) for fault in planned.faults}
    assert names == {fault.name for fault in FAULTS} - {"worker killed"}


@pytest.mark.parametrize(
    ("status", "version", "body", "more", "word"),
    [
        (200, 2, content(PATH, 2), {}, None),
        (200, 3, content(PATH, 3), {}, None),
        (304, 2, b"", {}, None),
        (206, 2, content(PATH, 2)[3:9], {"Content-Range": "bytes 3-8/9999"}, None),
        (200, 1, content(PATH, 1), {}, "version 1 after 2"),
        (304, 1, b"", {}, "version 1 after 2"),
        (200, 2, content(PATH, 1), {}, "not the"),
        (200, 2, content(PATH, 2)[:-1], {}, "not the"),
        (206, 2, content(PATH, 2)[4:9], {"Content-Range": "bytes 3-8/9999"}, "not the"),
        (200, 2, content(PATHS[2], 2), {}, "not the"),
        (404, 2, b"", {}, "status 404"),
        (200, 2, content(PATH, 2), {"ETag": '"1"'}, "ETag"),
    ],
)
def test_an_old_or_a_broken_version_is_seen(
    status: int, version: int, body: bytes, more: dict[str, str], word: str | None
) -> None:
    versions = Versions(2)
    versions.purged(0, versions.change([PATH]))
    assert (versions.floor(0, PATH), versions.floor(1, PATH)) == (2, 1)
    wrong = versions.wrong(PATH, versions.floor(0, PATH), status, said(version, **more), body)
    assert (wrong is None) == (word is None)
    assert wrong is None or (word is not None and word in wrong)


def test_a_purge_never_lowers_a_floor() -> None:
    versions = Versions(1)
    late = versions.change([PATH])
    versions.purged(0, versions.change([PATH]))
    versions.purged(0, late)
    assert versions.floor(0, PATH) == 3


def test_the_weather_excuses_what_its_faults_do_and_nothing_else() -> None:
    weather = Weather(say=lambda text: None)
    before = weather.begun
    with weather.trouble("Redis stopped", grace=0):
        weather.failed("503", 1, before)
        assert weather.counts["no good answer"] == 1
    with weather.trouble("instance killed", port=1, grace=60):
        weather.failed("broken", 1, before)
        weather.failed("broken", 2, before)
        assert weather.counts["no good answer"] == 2
    weather.failed("broken", 1, before)
    with weather.trouble("upstream storm", upstream=True, grace=0):
        weather.failed("500", 2, before)
        assert not weather.away(2, before)
        assert weather.away(1, before)
    assert weather.counts["no good answer"] == 2
    assert sum(weather.excused.values()) == 3
    weather.failed("500", 2, before + 1e6)
    assert weather.counts["no good answer"] == 3


def test_findings_are_counted_beyond_those_that_are_told() -> None:
    told: list[str] = []
    weather = Weather(told.append)
    for _ in range(LISTED + 5):
        weather.found("leak", "of a")
    weather.found("bound", "memory")
    assert (weather.counts["leak"], len(weather.findings), len(told)) == (LISTED + 5, LISTED + 1, LISTED + 1)


@pytest.mark.parametrize(
    ("after", "found"),
    [
        (replace(BEFORE, rss=BEFORE.rss + (70 << 20)), []),
        (replace(BEFORE, rss=BEFORE.rss + (90 << 20)), ["RSS"]),
        (replace(BEFORE, descriptors=93), ["descriptors"]),
        (replace(BEFORE, threads=37), ["threads"]),
    ],
)
def test_what_is_kept_is_seen(after: Sample, found: list[str]) -> None:
    kept = leaked(BEFORE, after)
    assert len(kept) == len(found)
    assert all(word in line for word, line in zip(found, kept, strict=True))


def test_the_table_and_the_plot_hold_every_instance() -> None:
    samples = [replace(BEFORE, at=float(at), instance=at % 2, rss=(at + 1) << 20) for at in range(200)]
    assert len(table(samples).splitlines()) <= 1 + 2 * 24
    lines = plots(samples).splitlines()
    assert [line.split()[:2] for line in lines] == [[n, of] for n in "01" for of in ("RSS", "descr")]
    assert "1 to 199 MiB" in lines[0]


async def test_the_api_lies_about_lengths_but_about_no_byte_that_is_framed() -> None:
    async with Origin() as origin:
        api = Api(origin, Versions(1), seed=1)
        api.mood = Mood.LIES
        whole = 0
        for _ in range(30):
            async with raw(origin.port) as client:
                answer = await client.get("/big/1")
                assert big("/big/1").startswith(answer.body)
                if answer.complete:
                    assert answer.body == big("/big/1")
                whole += answer.complete
        assert 0 < whole < 30
