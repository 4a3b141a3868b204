"""What the invariant tests look at: the files of the checkout, by kind."""

import re
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GENERATED = re.compile(r"(_pb2(_grpc)?\.pyi?|/holdfast/v1/__init__\.py|/__snapshots__/.*)$")
CODE_SUFFIXES = frozenset({".py", ".proto", ".sql", ".sh", ".tcss"})
MANIFESTS = {
    "holdfast": ROOT / "sdk" / "python" / "pyproject.toml",
    "holdfast-server": ROOT / "server" / "pyproject.toml",
    "holdfast-tui": ROOT / "tui" / "pyproject.toml",
}


@cache
def files() -> tuple[Path, ...]:
    """Return every file that is in git or would be with the next `git add`, so that a fault shows before the commit."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = {ROOT / name for name in listing.split("\0") if name}
    return tuple(sorted(path for path in paths if path.is_file()))


@cache
def hand_written_code() -> tuple[Path, ...]:
    """Return the code files that people write; generated ones are left out."""
    return tuple(p for p in files() if p.suffix in CODE_SUFFIXES and not GENERATED.search(p.as_posix()))


@cache
def text_of(path: Path) -> str:
    """Return the text of a file; empty for one that is not text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def name_of(path: Path) -> str:
    """Return the path as people write it, from the root of the checkout."""
    return path.relative_to(ROOT).as_posix()
