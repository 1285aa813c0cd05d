"""docs/configuration.md is what `make reference` makes of the settings, names all of them, and says nothing untrue."""

import re
from typing import Any

import pytest
import yaml

from docs.reference import PAGE, SINCE, Row, page, rows
from proxy.settings import Settings, settings_from
from proxy.settings.shape import setting_paths
from proxy.settings.show import as_data
from proxy.settings.spellings import SPELLINGS
from tests.test_project import ROOT

ROWS = list(rows())
PLAIN = [row for row in ROWS if "[" not in row.path and row.default.startswith("`") and row.path != "upstreams"]


def test_the_page_is_that_of_these_settings() -> None:
    assert PAGE.read_text() == page(), "run `make reference`"


def test_every_setting_and_every_name_has_its_row() -> None:
    named = [row.path for row in ROWS]
    assert named == [*dict.fromkeys(named)]
    assert {".".join(map(str, steps)) for steps in setting_paths()} <= {*named}
    assert {spelling for row in ROWS for spelling in row.names} == {*SPELLINGS}


@pytest.mark.parametrize("row", PLAIN, ids=lambda row: row.path)
def test_a_default_as_it_is_written_is_the_default(row: Row) -> None:
    """Whoever copies a cell into the YAML changes nothing. Redis is left off, and what wants company stands in it."""
    *above, last = row.path.split(".")
    value: Any = {last: yaml.safe_load(row.default.strip("`"))}
    if "health_check" in above:
        value |= {"path": "/"}
    for name in reversed(above):
        value = {name: value}
    loaded: Any = as_data(settings_from(value, require_upstream=False), reveal=True)
    default: Any = as_data(Settings(), reveal=True)
    for name in (*above, last):
        loaded, default = loaded[name], default[name] if default is not None else None
    assert loaded == default or "health_check" in above


def test_a_later_version_is_one_that_was_released() -> None:
    released = re.findall(r"^## \[(\d[\d.]*|Unreleased)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert {*SINCE} <= {row.path for row in ROWS}
    assert {*SINCE.values()} <= {*released, "0.1.0"}
