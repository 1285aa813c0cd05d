"""All settings in one frozen tree: `settings.memory.max_entries` is `memory.max_entries` in the YAML."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from proxy.settings.rule_model import RuleSettings
from proxy.settings.sections import (
    AdminSettings,
    CacheSettings,
    FileSettings,
    FlightSettings,
    JournalSettings,
    LimitSettings,
    ListenSettings,
    LogSettings,
    MemorySettings,
    ObserveSettings,
    RedisSettings,
    Section,
    TimeoutSettings,
    UpstreamSettings,
    WarmSettings,
)
from proxy.settings.values import Name


class Settings(Section):
    """Everything that can be set. Seconds and bytes are plain numbers; secrets show as `**********`."""

    upstream: UpstreamSettings = Field(default=UpstreamSettings(), description="the API behind the gateway")
    upstreams: dict[Name, UpstreamSettings] = Field(default={}, description="more services, named by rules")
    listen: ListenSettings = Field(default=ListenSettings(), description="the door to the clients")
    admin: AdminSettings = Field(default=AdminSettings(), description="the gateway's own pages")
    cache: CacheSettings = Field(default=CacheSettings(), description="what holds for every rule")
    rules: tuple[RuleSettings, ...] = Field(default=(), description="the first that fits a request has it")
    memory: MemorySettings = Field(default=MemorySettings(), description="the nearest tier")
    file: FileSettings = Field(default=FileSettings(), description="the tier on disk")
    redis: RedisSettings = Field(default=RedisSettings(), description="the tier that instances share")
    limits: LimitSettings = Field(default=LimitSettings(), description="how much of anything is taken")
    timeouts: TimeoutSettings = Field(default=TimeoutSettings(), description="how long clients may take")
    flight: FlightSettings = Field(default=FlightSettings(), description="how requests for one answer are gathered")
    warm: WarmSettings = Field(
        default=WarmSettings(), description="how fast answers are fetched before they are wanted"
    )
    journal: JournalSettings = Field(default=JournalSettings(), description="the record of purges")
    log: LogSettings = Field(default=LogSettings(), description="what is written, and how")
    observe: ObserveSettings = Field(default=ObserveSettings(), description="what answers tell about their making")

    @model_validator(mode="before")
    @classmethod
    def _token_in_the_cache_directory(cls, data: Any) -> Any:
        """The token made at start lies where the gateway may write, so it follows file.dir."""
        if not isinstance(data, Mapping):
            return data
        files, admin = data.get("file", {}), data.get("admin", {})
        if not (isinstance(files, Mapping) and isinstance(admin, Mapping)) or "token_file" in admin:
            return data
        directory = files.get("dir")
        if not isinstance(directory, str | Path) or not directory:
            return data
        return {**data, "admin": {**admin, "token_file": Path(directory) / "admin.token"}}
