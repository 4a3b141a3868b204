"""The simulation finds the bugs that are planted for it: else it would only show that it runs."""

import re
from pathlib import Path

import pytest

from tests.simulation.planted import PLANTED, Bug, Change
from tests.simulation.planting import NotPlantedError, look_for, plant


@pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug.name)
def test_a_planted_bug_is_found(bug: Bug, tmp_path: Path) -> None:
    plant(bug, tmp_path)

    result = look_for(tmp_path, bug)

    found = re.match(r"seed (\d+): \S", result.stdout)
    assert found is not None, f"not found in {bug.seeds} seeds: {result.stdout}{result.stderr}"
    assert result.returncode == 1


def test_names_of_bugs_are_told_apart() -> None:
    assert len({bug.name for bug in PLANTED}) == len(PLANTED)


def test_a_bug_whose_code_is_gone_says_so(tmp_path: Path) -> None:
    bug = Bug("gone", (Change("app.py", "this is not there", "nor is this"),))

    with pytest.raises(NotPlantedError, match=r"'gone' cannot be planted: app.py has 0 times"):
        plant(bug, tmp_path)


def test_a_bug_whose_code_is_there_twice_says_so(tmp_path: Path) -> None:
    bug = Bug("twice", (Change("app.py", "import", "import"),))

    with pytest.raises(NotPlantedError, match="plant it anew"):
        plant(bug, tmp_path)
