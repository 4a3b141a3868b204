"""Invariant: files are short, finished, and say nothing about the machine they were written on."""

import re
import subprocess
import sysconfig
from pathlib import Path

from tests.architecture.tree import CODE_SUFFIXES, ROOT, files, hand_written_code, name_of, text_of

LINES_MAX = 500
# Written with a class each, so that this file does not find itself.
UNFINISHED = re.compile(r"\b([T]ODO|[F]IXME|[X]XX|[H]ACK)\b|raise [N]otImplementedError")
MACHINE_PATH = re.compile(r"(?<![\w.$}/-])/(home/\w|Users/\w|root/|work/|farm/)")
REGISTRY = re.compile(
    r"--(?:extra-)?[i]ndex-url|[i]ndex-url\s*=|files\.[p]ythonhosted|\b[p]ypi\.org|\b[r]egistry\.npmjs"
)
TOP_LEVEL_FOLDERS = frozenset({".ci", "bench", "docs", "examples", "proto", "sdk", "server", "tests", "tui"})


def _hits(pattern: re.Pattern[str], paths: tuple[Path, ...]) -> list[str]:
    return [
        f"{name_of(path)}:{number}: {line.strip()[:100]}"
        for path in paths
        for number, line in enumerate(text_of(path).splitlines(), 1)
        if pattern.search(line)
    ]


def test_hand_written_files_are_short() -> None:
    lengths = {name_of(path): text_of(path).count("\n") for path in hand_written_code()}

    assert {name: count for name, count in lengths.items() if count > LINES_MAX} == {}


def test_nothing_is_left_unfinished() -> None:
    assert _hits(UNFINISHED, hand_written_code()) == []


def test_every_module_says_what_it_is_for() -> None:
    modules = [p for p in hand_written_code() if p.suffix == ".py" and text_of(p).strip()]
    typing_only = ROOT / "tests" / "typing"
    silent = [name_of(p) for p in modules if not p.is_relative_to(typing_only) and not _starts_with_docstring(p)]

    assert silent == []


def _starts_with_docstring(path: Path) -> bool:
    lines = [line for line in text_of(path).splitlines() if line.strip() and not line.startswith("#")]
    return bool(lines) and re.match(r'r?"""\S', lines[0]) is not None


def test_no_path_of_a_machine() -> None:
    assert _hits(MACHINE_PATH, files()) == []


def test_no_address_of_a_registry() -> None:
    assert _hits(REGISTRY, files()) == []


def test_top_level_folders_are_the_agreed_ones() -> None:
    found = {name_of(path).partition("/")[0] for path in files() if "/" in name_of(path)}

    assert found - TOP_LEVEL_FOLDERS == set()


def test_protos_are_clean_and_commented() -> None:
    buf = Path(sysconfig.get_path("scripts")) / "buf"
    result = subprocess.run([buf, "lint"], cwd=ROOT, check=False, capture_output=True, text=True)

    assert result.returncode == 0, f"{result.stdout}{result.stderr}"


def test_code_suffixes_cover_the_languages_in_the_tree() -> None:
    # A language that joins later must join the rules above too.
    known = CODE_SUFFIXES | {".go", ".java", ".js", ".rs", ".ts"}
    joined = {path.suffix for path in files()} & known

    assert joined <= CODE_SUFFIXES
