"""Histories that were looked at by a person: every scenario of `tests/golden/engine` still prints what it printed."""

from pathlib import Path

import pytest

from tests.unit.engine.scenario import Scenario, read_file, written

FOLDER = Path(__file__).parents[2] / "golden" / "engine"
FILES = sorted(FOLDER.glob("*.txt"))
SCENARIOS = [(path, scenario) for path in FILES for scenario in read_file(path)]


@pytest.mark.parametrize(
    ("path", "scenario"),
    SCENARIOS,
    ids=[f"{path.stem}: {scenario.title}" for path, scenario in SCENARIOS],
)
def test_scenario_prints_what_it_printed(path: Path, scenario: Scenario, request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--rewrite-golden"):
        pytest.skip("rewritten")
    assert scenario.play() == scenario.expected


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_are_as_they_would_be_written(path: Path, request: pytest.FixtureRequest) -> None:
    rewrite = request.config.getoption("--rewrite-golden")
    text = written(path, [one.play() if rewrite else one.expected for one in read_file(path)])
    if rewrite:
        path.write_text(text)
    assert path.read_text() == text


def test_titles_are_unique() -> None:
    for path in FILES:
        titles = [scenario.title for scenario in read_file(path)]
        assert len(titles) == len(set(titles)), path.name
