"""Invariant: what may know what. The contracts themselves are in the root `pyproject.toml`."""

import ast
import os
import subprocess
import sys

import pytest

from tests.architecture.tree import ROOT, name_of, text_of

ENGINE = ROOT / "server" / "src" / "holdfast_server" / "engine"
MESSAGES = sorted((ROOT / "sdk" / "python" / "src" / "holdfast" / "v1").glob("*_pb2.py"))
CLOCK_CALLS = frozenset({"now", "today", "utcnow"})


def test_import_contracts_hold() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()", "--no-logo"]
    result = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)

    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"


def test_engine_asks_no_clock_through_datetime() -> None:
    # The contract forbids `time`; `datetime` is needed to read dates, so its clocks are forbidden here.
    asked = [
        f"{name_of(path)}:{node.lineno}"
        for path in sorted(ENGINE.rglob("*.py"))
        for node in ast.walk(ast.parse(text_of(path)))
        if isinstance(node, ast.Attribute)
        and node.attr in CLOCK_CALLS
        and isinstance(node.value, (ast.Name, ast.Attribute))
        and ast.unparse(node.value).rpartition(".")[2] in {"date", "datetime"}
    ]

    assert asked == []


def test_messages_load_no_transport() -> None:
    assert MESSAGES, "no generated messages: run `make generate`"
    imports = "\n".join(f"import holdfast.v1.{path.stem}" for path in MESSAGES)

    assert _loaded_after(imports) & {"grpc", "asyncio"} == set()


def test_engine_loads_no_transport_and_no_store() -> None:
    modules = [path.relative_to(ENGINE.parent.parent).with_suffix("") for path in sorted(ENGINE.rglob("*.py"))]
    assert modules, "no engine"
    imports = "\n".join("import " + ".".join(module.parts).removesuffix(".__init__") for module in modules)

    assert _loaded_after(imports) & {"grpc", "aiosqlite", "pysqlite3", "sqlite3"} == set()


@pytest.mark.parametrize("import_", ["import holdfast", "import holdfast.v1"])
def test_importing_the_client_package_is_free(import_: str) -> None:
    assert _loaded_after(import_) & {"grpc", "pydantic", "typer", "opentelemetry", "google.protobuf"} == set()


def _loaded_after(program: str) -> set[str]:
    """Return the names of the modules a fresh interpreter has loaded after running the program."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{program}\nimport sys\nprint(*sys.modules)"],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())
