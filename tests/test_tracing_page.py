"""docs/tracing.md and what is shipped for collectors: each command and each piece of YAML is one that works."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.process import REPOSITORY, program
from tests.support.settings_loading import read

PAGE = (REPOSITORY / "docs" / "tracing.md").read_text()
SECRETS = {"DD_API_KEY": "dd", "NEW_RELIC_LICENSE_KEY": "nr"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


OURS = [text for text in blocks("yaml") if "otlp_config" not in text]
COMMANDS = [line for text in blocks("sh") for line in text.splitlines()]
SERVES = [line for line in COMMANDS if " cachegate " in line]


@pytest.mark.parametrize("text", OURS)
def test_the_settings_are_settings(text: str, tmp_path: Path) -> None:
    tracing = read(tmp_path, text, environ=SECRETS).settings.observe.tracing
    assert tracing.endpoint is not None
    assert [value.get_secret_value() for value in tracing.headers.values()] in ([], ["dd"], ["nr"])


def test_the_first_of_them_are_the_defaults(tmp_path: Path) -> None:
    """But for the address, and with none left out."""
    told, default = (read(tmp_path, text).settings.observe.tracing for text in (OURS[0], ""))
    assert told.model_copy(update={"endpoint": None}) == default
    assert {*yaml.safe_load(OURS[0])["observe"]["tracing"]} == {*type(default).model_fields}


@pytest.mark.parametrize("line", SERVES)
async def test_the_gateway_would_start_as_it_is_written(line: str, tmp_path: Path) -> None:
    words = shlex.split(line)
    env = dict(word.split("=", 1) for word in words[: words.index("cachegate")])
    serve, *flags = words[words.index("cachegate") + 1 :]
    code, out, err = await program(tmp_path, "check", "--show", *flags, env=env)
    assert (serve, code) == ("serve", 0), out + err
    assert env["OTEL_EXPORTER_OTLP_ENDPOINT"] in out


def test_the_other_commands_are_these() -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    install, docker = (line for line in COMMANDS if line not in SERVES)
    assert install == "pip install 'cachegate[otel]'"
    assert "otel" in extras
    assert docker.startswith("docker run --rm ")
    assert "-p 4318:4318 " in docker


def test_every_attribute_of_ours_is_told_and_no_other() -> None:
    code = "".join(path.read_text() for path in (REPOSITORY / "proxy").rglob("*.py"))
    said = {name for name in re.findall(r'"(cachegate\.[a-z_.]+)"', code) if name != "cachegate.yaml"}
    assert said == set(re.findall(r"`(cachegate\.[a-z_.]+)`", PAGE))


def test_the_collector_that_is_shipped_hangs_together() -> None:
    made: dict[str, Any] = yaml.safe_load((REPOSITORY / "deploy" / "otel" / "collector.yaml").read_text())
    assert made["receivers"]["otlp"]["protocols"]["http"]["endpoint"].endswith(":4318")
    for pipeline in made["service"]["pipelines"].values():
        for kind in ("receivers", "processors", "exporters"):
            assert {*pipeline[kind]} <= {*made[kind]}
        assert pipeline["processors"][0] == "memory_limiter"
    assert {*made["service"]["pipelines"]} == {"traces", "metrics"}


def test_the_agent_of_datadog_listens_where_it_is_sent_to() -> None:
    (agent,) = (yaml.safe_load(text) for text in blocks("yaml") if text not in OURS)
    assert agent["otlp_config"]["receiver"]["protocols"]["http"]["endpoint"] == "0.0.0.0:4318"
    assert "DD_OTLP_CONFIG_RECEIVER_PROTOCOLS_HTTP_ENDPOINT=0.0.0.0:4318" in PAGE
