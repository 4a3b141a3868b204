"""Invariant: the commands a contributor runs are there, explain themselves, and are the ones CI runs."""

import re
import subprocess

from tests.architecture.tree import ROOT, text_of

MAKEFILE = ROOT / "Makefile"
AGREED = frozenset(
    {
        *("help", "setup", "demo", "test", "lint", "type", "verify", "fmt"),
        *("generate", "bench", "bench-quick", "chaos", "soak"),
    }
)


def _targets() -> set[str]:
    phony = re.search(r"^\.PHONY: (.*)$", text_of(MAKEFILE), re.MULTILINE)
    assert phony is not None
    return set(phony.group(1).split())


def _make(*arguments: str) -> str:
    # Not inherited: this test may run below `make test`, whose flags would reach this make.
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout


def test_the_agreed_targets_are_there() -> None:
    assert _targets() >= AGREED


def test_help_is_the_default_and_lists_every_target_with_a_sentence() -> None:
    listed = dict(re.findall(r"^  (\S+) +(\S.*)$", _make(), re.MULTILINE))

    assert set(listed) == _targets()
    assert _make("help") == _make()


def test_ci_runs_only_targets_that_exist_and_every_check() -> None:
    run = text_of(ROOT / ".ci" / "run")
    used = {word for call in re.findall(r"\bmake ([a-z \-]+)", run) for word in call.split()}

    assert used <= _targets()
    assert used >= {"setup", "test", "verify", "lint", "type", "demo", "bench-quick"}
    assert subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=False).returncode == 0
