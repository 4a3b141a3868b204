"""`holdfast tui` on the command line."""

import os
from datetime import UTC, datetime
from typing import Any

import pytest
from typer.testing import CliRunner

import holdfast_tui.app
from holdfast.cli.app import build_app
from holdfast.cli.environment import Environment


class Opened:
    """Stands in for the app and notes how it was opened."""

    seen: dict[str, Any]
    return_code = 0

    def __init__(self, client: Any, *, is_read_only: bool) -> None:
        Opened.seen = {
            "target": client.target,
            "namespace": client.namespace,
            "actor": client.actor,
            "is_read_only": is_read_only,
        }

    async def run_async(self) -> None:
        Opened.seen["no_color"] = os.environ.get("NO_COLOR")


def call(*arguments: str, is_person: bool = True) -> Any:
    environment = Environment(clock=lambda: datetime(2030, 1, 1, tzinfo=UTC), is_person=lambda: is_person, variables={})
    return CliRunner().invoke(build_app(), ["tui", *arguments], obj=environment)


def test_it_opens_the_screens_on_the_server_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holdfast_tui.app, "HoldfastApp", Opened)
    monkeypatch.delenv("NO_COLOR", raising=False)

    result = call("--target", "there", "-n", "team", "--actor", "ada", "--read-only")

    assert result.exit_code == 0, result.output
    assert Opened.seen == {
        "target": "there:7411",
        "namespace": "team",
        "actor": "ada",
        "is_read_only": True,
        "no_color": None,
    }


def test_no_color_reaches_the_screens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holdfast_tui.app, "HoldfastApp", Opened)
    monkeypatch.setenv("NO_COLOR", "")

    assert call("--no-color").exit_code == 0
    assert Opened.seen["no_color"] == "1"
    assert not Opened.seen["is_read_only"]


@pytest.mark.parametrize(
    ("arguments", "is_person", "words"),
    [((), False, "the screens need a terminal"), (("-o", "json"), True, "the screens have no JSON")],
)
def test_where_there_is_no_terminal_it_says_what_to_type(
    arguments: tuple[str, ...], is_person: bool, words: str
) -> None:
    result = call(*arguments, is_person=is_person)

    assert result.exit_code == 2
    assert words in result.output
    assert "holdfast gate list" in result.output


def test_screens_that_broke_give_their_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holdfast_tui.app, "HoldfastApp", Opened)
    monkeypatch.setattr(Opened, "return_code", 1)

    assert call().exit_code == 1
