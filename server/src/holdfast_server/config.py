"""Settings of the server: flags over environment (`HOLDFAST_*`) over a TOML file over defaults."""

from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from holdfast_server.engine.durations import parse_duration_us
from holdfast_server.failpoints import Failpoint

__all__ = ["ServerConfig", "setting_faults"]

MIB = 1024 * 1024
ENVELOPE_BYTES = 64 * 1024
"""A message holds a payload and what is said with it."""
BEATS_PER_LEASE = 3
"""A lease outlives two heartbeats that do not arrive."""
FOREVER = "forever"


class ServerConfig(BaseSettings):
    """What can be set. Units are in the names; limits are the table in `docs/semantics.md`."""

    model_config = SettingsConfigDict(env_prefix="HOLDFAST_", extra="forbid", frozen=True)

    listen: str = Field(default="127.0.0.1:7411", description="Address and port; port 0 takes a free one.")
    database: str = Field(default="./holdfast.db", description="SQLite file, or `:memory:`.")
    insecure: bool = Field(default=False, description="Allow an address beyond loopback without access control.")
    payload_bytes: int = Field(default=4 * MIB, ge=1024, description="Largest payload.")
    message_bytes: int = Field(default=16 * MIB, ge=64 * 1024, description="Largest gRPC message.")
    lease_s: float = Field(default=30.0, gt=0, description="Life of a lease without a sign of its worker.")
    heartbeat_s: float = Field(
        default=10.0,
        ge=0.1,
        validate_default=False,  # what nobody has said follows a short lease
        description="Time between two heartbeats of a worker, by which it hears what to stop; a third of a shorter "
        "lease.",
    )
    adoption_grace_s: float = Field(
        default=5.0, gt=0, description="Time workers have after a restart of the server to claim what they hold."
    )
    cancel_grace_s: float = Field(default=30.0, ge=0, description="Time a cancelled attempt has to end by itself.")
    drain_s: float = Field(default=5.0, ge=0, description="Time calls have to end when the server stops.")
    uncommitted_transitions: int = Field(default=20_000, ge=100, description="Transitions that may wait for the disk.")
    uncommitted_bytes: int = Field(default=256 * MIB, ge=MIB, description="Large payloads that may wait for the disk.")
    history_bytes: int = Field(default=1024 * MIB, ge=1024, description="History above which a run takes nothing new.")
    history_warning_bytes: int = Field(default=64 * MIB, ge=0, description="History of a run that the log tells of.")
    unconsumed_signals: int = Field(default=1_000, ge=1, description="Signals a run may hold that nothing has taken.")
    gate_body_bytes: int = Field(default=256 * 1024, ge=1024, description="Largest body of a gate, rendered.")
    batch_items: int = Field(default=1_000, ge=1, description="Starts, signals or results in one message.")
    workers: int = Field(default=10_000, ge=1, description="Workers known at once.")
    parked_polls: int = Field(default=10_000, ge=1, description="Polls that wait for tasks at once.")
    open_calls: int = Field(default=10_000, ge=1, description="Calls at once that watch, or wait for the end of runs.")
    waits: int = Field(default=100_000, ge=1, description="Waits for the end of runs at once, over all calls.")
    hot_runs: int = Field(default=20_000, ge=1, description="Open runs in memory; others that only wait are evicted.")
    evict_after_s: float = Field(
        default=10.0, gt=0, description="Time nothing must have happened to a run that is evicted though there is room."
    )
    retention: str = Field(
        default=FOREVER, description="How long closed runs are kept before they are deleted: `forever`, or such as 30d."
    )
    log_format: Literal["console", "json"] = Field(default="console", description="Form of the log.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level logged.")
    failpoint: str = Field(default="", description="For tests: the place at which the server kills itself.")

    @field_validator("listen")
    @classmethod
    def _has_port(cls, value: str) -> str:
        host, colon, port = value.rpartition(":")
        if not value.startswith("unix:") and (not colon or not host or not port.isdigit() or int(port) > 65_535):  # noqa: PLR2004
            message = f"{value!r} is not an address such as 127.0.0.1:7411"
            raise ValueError(message)
        return value

    @field_validator("heartbeat_s")
    @classmethod
    def _keeps_leases(cls, value: float, info: ValidationInfo) -> float:
        lease_s = info.data.get("lease_s")
        if lease_s is not None and value > lease_s / BEATS_PER_LEASE:
            message = f"{value:g} is more than a third of lease_s, which is {lease_s:g}"
            raise ValueError(message)
        return value

    @field_validator("retention")
    @classmethod
    def _is_duration(cls, value: str) -> str:
        if value != FOREVER and parse_duration_us(value) == 0:
            message = f"{value!r} would keep nothing; write how long, such as 30d, or {FOREVER}"
            raise ValueError(message)
        return value

    @field_validator("message_bytes")
    @classmethod
    def _holds_a_payload(cls, value: int, info: ValidationInfo) -> int:
        payload_bytes = info.data.get("payload_bytes")
        if payload_bytes is not None and value < payload_bytes + ENVELOPE_BYTES:
            message = f"{value} is less than payload_bytes, which is {payload_bytes}, and {ENVELOPE_BYTES} around it"
            raise ValueError(message)
        return value

    @field_validator("failpoint")
    @classmethod
    def _is_a_place(cls, value: str) -> str:
        if value:
            Failpoint(value)
        return value

    @property
    def heartbeat_interval_s(self) -> float:
        """How long a worker waits from one heartbeat to the next."""
        return min(self.heartbeat_s, self.lease_s / BEATS_PER_LEASE)

    @property
    def retention_us(self) -> int | None:
        """How long closed runs are kept; None means for ever."""
        return None if self.retention == FOREVER else parse_duration_us(self.retention)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.listen.startswith("unix:"):
            return True
        host = self.listen.rpartition(":")[0].strip("[]")
        try:
            return host == "localhost" or ip_address(host).is_loopback
        except ValueError:
            return False  # a name, which may lead anywhere

    @classmethod
    def load(cls, file: Path | None, **flags: Any) -> "ServerConfig":
        """The settings in force; flags that are None were not given.

        Raises:
            pydantic.ValidationError: a setting is unknown or out of range.
            tomllib.TOMLDecodeError: the file is no TOML.
        """
        given = {name: value for name, value in flags.items() if value is not None}
        if file is None:
            return cls(**given)

        class WithFile(cls):  # type: ignore[valid-type,misc]
            model_config = SettingsConfigDict(env_prefix="HOLDFAST_", extra="forbid", frozen=True, toml_file=file)

            @classmethod
            def settings_customise_sources(
                cls, settings_cls: type[BaseSettings], **sources: PydanticBaseSettingsSource
            ) -> tuple[PydanticBaseSettingsSource, ...]:
                return sources["init_settings"], sources["env_settings"], TomlConfigSettingsSource(settings_cls)

        return WithFile(**given)


def setting_faults(error: ValidationError) -> list[str]:
    """What is wrong with settings, a sentence for each."""
    return [
        f"setting {'.'.join(str(part) for part in fault['loc'])}: {fault['msg']} (it is {fault['input']!r})"
        for fault in error.errors()
    ]
