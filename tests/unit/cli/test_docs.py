"""`docs/cli.md` tells what the commands are, and what it tells to type works."""

import asyncio
import re
import shlex
import shutil
from pathlib import Path

import pytest

from holdfast.worker import module
from holdfast_server.store.sqlite import SqliteStore
from tests.unit.cli import reference
from tests.unit.cli.stage import Stage
from tests.unit.cli.test_golden import fill

BLOCKS = re.compile(r"^```(?:console|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)
OURS = {"workflow", "run", "gate", "queue", "worker", "info", "admin"}


def lines() -> list[str]:
    """Return every command the page tells to type that is one of ours."""
    page = reference.PAGE.read_text(encoding="utf-8")
    typed = [line[2:] for block in BLOCKS.findall(page) for line in block.splitlines() if line.startswith("$ ")]
    return [line for line in typed if line.split()[0] == "holdfast" and set(line.split()) & OURS]


def test_the_page_is_current(request: pytest.FixtureRequest) -> None:
    page = reference.PAGE.read_text(encoding="utf-8")
    current = reference.put_into(page)
    if request.config.getoption("--rewrite-golden"):
        reference.PAGE.write_text(current, encoding="utf-8")
        page = current

    assert page == current, "run this test with --rewrite-golden"


def test_every_command_has_an_example() -> None:
    assert set(reference.EXAMPLES) == {name for name, _ in reference.commands()}


def test_examples_name_their_command() -> None:
    for name, examples in reference.EXAMPLES.items():
        short = name.removesuffix(" run") if name == "worker run" else name
        assert [
            line for line in examples if not line.startswith(f"holdfast {short} ") and line != f"holdfast {name}"
        ] == []


@pytest.mark.parametrize("line", lines())
def test_what_the_page_tells_to_type_works(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str
) -> None:
    fill(stage)
    monkeypatch.setattr(module, "run_module", lambda *_, **__: None)
    monkeypatch.setattr("holdfast.cli.worker.log_to_stderr", lambda: None)
    monkeypatch.chdir(tmp_path)
    for name in ("report.yaml", "question.json", "shorter.json"):
        Path(name).write_text('{"a": 1}')
    Path("definitions").mkdir()
    Path("definitions/report.yaml").write_text("name: report")

    if line.startswith("holdfast admin"):
        asyncio.run(_make_database("holdfast.db"))
        if "backup backup.db" not in line:
            shutil.copy("holdfast.db", "backup.db")

    words = shlex.split(line.partition(" < ")[0].partition(" | ")[0].replace("definitions/*", "definitions/report"))
    result = stage.call(*words[1:], input=b'{"a": 1}' if " < " in line else b"")

    assert result.exit_code == 0, result.output


async def _make_database(name: str) -> None:
    """An empty one, as a server leaves it."""
    store = SqliteStore(name)
    await store.open()
    await store.close()
