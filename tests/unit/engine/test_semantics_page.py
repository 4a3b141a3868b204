"""The page on semantics: every rule points at a scenario that is there, and its table of limits is the code's."""

import re
from dataclasses import fields
from pathlib import Path

from holdfast_server.engine.settings import EngineSettings
from tests.unit.engine.scenario import read_file

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "semantics.md").read_text()
RULES = [line for line in PAGE.partition("## Limits")[0].splitlines() if line.startswith("- ")]
TITLES = {
    f"{path.stem}: {one.title}" for path in (ROOT / "tests/golden/engine").glob("*.txt") for one in read_file(path)
}


def _named(rule: str) -> list[str]:
    return re.findall(r"`([^`]+)`", rule.rpartition(" — ")[2])


def test_every_rule_names_a_scenario() -> None:
    assert [rule for rule in RULES if " — " not in rule or not _named(rule)] == []


def test_every_named_scenario_is_there() -> None:
    assert {name for rule in RULES for name in _named(rule)} - TITLES == set()


def test_the_table_of_limits_is_the_codes() -> None:
    table = {
        name: int(value.replace(",", ""))
        for name, value in re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", PAGE, re.MULTILINE)
    }

    assert table == {field.name: getattr(EngineSettings(), field.name) for field in fields(EngineSettings)}
