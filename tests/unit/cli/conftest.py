"""A stage for each test, and golden texts."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.cli.stage import Stage, serve

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "cli"


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A server that says what the test tells it to, and a way to call commands against it."""
    stage = Stage()
    server = serve(stage)
    yield stage
    server.stop(grace=None).wait()


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with the one kept under a name, or keep it with `--rewrite-golden`."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / f"{name}.txt"
        if request.config.getoption("--rewrite-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"no golden text {name}: run with --rewrite-golden and read it"
        assert text == path.read_text(encoding="utf-8")

    return compare
