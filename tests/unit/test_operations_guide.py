"""The table of settings in docs/operations.md is the list of settings, with their defaults."""

import re
from pathlib import Path

import pytest

from holdfast_server.config import ServerConfig
from holdfast_server.matching.settings import MatchingSettings
from holdfast_server.rpc.limits import limits_in_force
from holdfast_server.rpc.validation import Limits
from holdfast_server.runtime.runtime import RuntimeSettings

GUIDE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
KIB = 1024
MIB = 1024 * KIB


def _section(heading: str) -> str:
    return GUIDE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_every_setting_is_listed_with_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ServerConfig.model_fields:
        monkeypatch.delenv(f"HOLDFAST_{name.upper()}", raising=False)
    listed = dict(re.findall(r"^\| `(\w+)` \| `([^`]*)` \| .+ \|$", _section("Settings"), re.MULTILINE))
    defaults = {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in ServerConfig().model_dump().items()
    }

    assert listed == defaults


def test_limits_are_those_in_force() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([0-9][^|]*?) \| .+ \|$", _section("Limits"), re.MULTILINE))
    units = {"": 1, "KiB": KIB, "MiB": MIB, "GiB": 1024 * MIB}
    listed = {}
    for name, value in rows.items():
        number, _, unit = value.partition(" ")
        listed[name] = int(number.replace(",", "")) * units[unit]

    assert listed == limits_in_force(Limits(), RuntimeSettings(), MatchingSettings())


def test_every_setting_that_is_a_limit_is_listed_with_the_limits() -> None:
    defaults = ServerConfig().model_dump()
    limits = limits_in_force(Limits(), RuntimeSettings(), MatchingSettings())
    times = {name for name in defaults if name.endswith("_s")}
    others = {"listen", "database", "insecure", "retention", "log_format", "log_level", "failpoint"}

    assert defaults.keys() - times - others <= limits.keys()
    assert {name: limits[name] for name in defaults.keys() & limits.keys()} == {
        name: value for name, value in defaults.items() if name in limits
    }
