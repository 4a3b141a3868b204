"""Bad input at the command line that is not a refused request: servers that cannot start, messages that do not fit.

What a server refuses is in the table of `test_cli.py`.
"""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.testing.processes import ServerProcess

DEFINITION = """
name: hold
steps: [{name: ask, gate: {title: Ask, approvers: {principals: [bob]}}}]
"""


def holdfast(*arguments: str, target: str = "127.0.0.1:1") -> "subprocess.CompletedProcess[str]":
    """One command, run to its end."""
    variables = {**os.environ, "HOLDFAST_TARGET": target, "HOLDFAST_ACTOR": "ann", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "holdfast", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=variables,
    )


def told(done: "subprocess.CompletedProcess[str]", code: int, what: str, next_step: str) -> None:
    """A command failed with this code, says what is wrong in one line and what to do in its last."""
    assert done.returncode == code, done.stderr
    lines = done.stderr.splitlines()
    (error,) = [line for line in lines if line.startswith("error: ")]
    assert what in error
    assert next_step in lines[-1]
    assert "Traceback" not in done.stderr


def starting(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return holdfast("server", "--listen", "127.0.0.1:0", *arguments)


def test_two_servers_on_one_file(server: ServerProcess) -> None:
    done = starting("--database", str(server.database))
    told(done, 1, f"is in use by pid {server.pid} on ", "--database FILE")


def test_a_database_of_a_newer_version(tmp_path: Path) -> None:
    path = tmp_path / "newer.db"
    with ServerProcess(path):
        pass
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    told(starting("--database", str(path)), 1, "has schema version 99", "holdfast --version")


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"not a database at all, but long enough to be taken for one" * 20, "database"), (b"", "")],
    ids=["text", "empty"],
)
def test_a_file_that_is_no_database(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "file.db"
    path.write_bytes(content)
    if not content:
        with ServerProcess(path):  # an empty file is as good as none
            return
    done = starting("--database", str(path))
    told(done, 1, what, "--database FILE")
    assert path.read_bytes() == content


def test_another_applications_database(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    told(starting("--database", str(path)), 1, "another application", "--database FILE")
    assert path.read_bytes() == before


def test_a_database_that_cannot_be_there(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere" / "a.db", tmp_path):
        told(starting("--database", str(path)), 1, str(path), "--database FILE")


def test_an_address_that_is_taken(server: ServerProcess, tmp_path: Path) -> None:
    for listen in (server.target, "no-such-host.invalid:7411"):
        done = holdfast("server", "--database", str(tmp_path / "a.db"), "--listen", listen, "--insecure")
        told(done, 1, f"cannot listen on {listen}: ", "--listen 127.0.0.1:0")
        assert len(done.stderr.splitlines()) == 2, "no lines of the transport beside ours"


def test_a_ready_file_that_cannot_be_written(tmp_path: Path) -> None:
    ready = tmp_path / "nowhere" / "ready"
    done = starting("--database", str(tmp_path / "a.db"), "--ready-file", str(ready))
    told(done, 1, f"--ready-file {ready} cannot be written", "in a folder this user may write to")
    assert "stopped" in done.stderr + done.stdout, "what had started was ended in good order"


@pytest.mark.parametrize(
    ("listen", "code", "what"),
    [
        ("0.0.0.0:0", 1, "can be reached from other machines"),
        ("[::]:0", 1, "can be reached from other machines"),
        ("localhost.example.org:0", 1, "can be reached from other machines"),
        ("127.0.0.1", 2, "is not an address"),
        ("127.0.0.1:99999", 2, "is not an address"),
        ("127.0.0.1:http", 2, "is not an address"),
    ],
)
def test_an_address_that_cannot_be_listened_on(tmp_path: Path, listen: str, code: int, what: str) -> None:
    done = holdfast("server", "--database", str(tmp_path / "a.db"), "--listen", listen)
    told(done, code, what, "--insecure" if code == 1 else "holdfast server --help")


@pytest.mark.parametrize(
    ("text", "what", "next_step"),
    [
        ("[a", "is no TOML", "mend the file"),
        ("lease_s = -1", "setting lease_s", "holdfast server --help"),
        ("heartbeat_s = 11", "more than a third of lease_s, which is 30", "holdfast server --help"),
        ('retention = "soon"', "setting retention", "holdfast server --help"),
        ('retention = "0s"', "would keep nothing", "holdfast server --help"),
        ('colour = "red"', "setting colour", "holdfast server --help"),
        ('log_level = "loud"', "setting log_level: Input should be 'debug', 'info'", "holdfast server --help"),
        ('payload_bytes = "much"', "setting payload_bytes", "holdfast server --help"),
    ],
)
def test_settings_that_are_not_right(tmp_path: Path, text: str, what: str, next_step: str) -> None:
    file = tmp_path / "holdfast.toml"
    file.write_text(text, encoding="utf-8")
    told(starting("--config", str(file)), 2, what, next_step)


def test_a_message_that_is_too_large(server: ServerProcess, tmp_path: Path) -> None:
    definition, large = tmp_path / "hold.yaml", tmp_path / "large.json"
    definition.write_text(DEFINITION, encoding="utf-8")
    large.write_text('"' + "x" * 17_000_000 + '"', encoding="utf-8")
    assert holdfast("workflow", "register", str(definition), target=server.target).returncode == 0
    done = holdfast("run", "start", "hold", "--input", f"@{large}", target=server.target)
    told(done, 1, "larger than", "holdfast info")


def test_a_run_with_more_data_than_a_message_holds_is_shown_without(server: ServerProcess, tmp_path: Path) -> None:
    definition, large = tmp_path / "copies.yaml", tmp_path / "large.json"
    steps = ", ".join(f"{{name: s{number}, compute: {{}}, input: '${{input}}'}}" for number in range(5))
    definition.write_text(f"name: copies\nsteps: [{steps}]\n", encoding="utf-8")
    large.write_text('"' + "x" * 4_000_000 + '"', encoding="utf-8")
    assert holdfast("workflow", "register", str(definition), target=server.target).returncode == 0
    done = holdfast("run", "start", "copies", "--run-id", "copies", "--input", f"@{large}", target=server.target)
    assert done.returncode == 0
    done = holdfast("run", "show", "copies", target=server.target)
    assert done.returncode == 0
    assert "message_bytes" in done.stderr
    assert "not loaded" in done.stdout


def test_a_person_who_may_not_decide(server: ServerProcess, tmp_path: Path) -> None:
    definition = tmp_path / "hold.yaml"
    definition.write_text(DEFINITION, encoding="utf-8")
    assert holdfast("workflow", "register", str(definition), target=server.target).returncode == 0
    started = holdfast("run", "start", "hold", "--run-id", "asked", target=server.target)
    assert started.returncode == 0
    done = holdfast("gate", "approve", "asked", "--yes-i-mean", "asked", target=server.target)
    told(done, 1, "NOT_AN_APPROVER", "holdfast gate show asked")


def test_nobody_is_there() -> None:
    told(holdfast("run", "list"), 4, "no server answers at 127.0.0.1:1", "holdfast server")
    told(holdfast("run", "list", "--target", "nonsense"), 4, "nonsense", "--target HOST:PORT")
