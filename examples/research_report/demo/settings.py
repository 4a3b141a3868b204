"""What the demonstration is asked to do: by arguments, by the environment, and otherwise by sensible defaults."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
QUESTION = "What happens to a run when the server or a worker is killed, and what is lost?"
INCLUDE = ("README.md", "ARCHITECTURE.md", "docs/**/*")
COMMENT = "Say more about the idempotency key, and keep it shorter."
DECISIONS = {"approve": ("approve",), "reject": ("reject", "approve"), "reject-twice": ("reject", "reject")}
STEP_S = 0.8
STEP_S_WITH_KILL = 2.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What to do.

    Attributes:
        question: What the report shall answer.
        folder: Where the documents are.
        include: Which of them.
        out: Where the report goes.
        decisions: What to say at the first and at the second gate; None asks on the terminal.
        decided_because: Why nobody is asked. Empty if somebody is.
        kill: Whether server and worker are killed in the middle.
        step_s: How long every step takes at least, so that it can be watched.
    """

    question: str
    folder: Path
    include: tuple[str, ...]
    out: Path
    decisions: tuple[str, ...] | None
    decided_because: str
    kill: bool
    step_s: float


def settings_from(
    arguments: Sequence[str] | None = None,
    environment: Mapping[str, str] = os.environ,
    *,
    terminal: bool | None = None,
) -> Settings:
    """Return what arguments and environment ask for; ends the program with a message if they make no sense.

    Args:
        arguments: Arguments of the program; None for this one's.
        environment: `DEMO_DECISION`, `DEMO_KILL` and `DEMO_STEP_S` are read.
        terminal: Whether somebody can be asked; None looks.
    """
    parser = argparse.ArgumentParser(prog="python -m examples.research_report.demo", description=__doc__)
    parser.add_argument("--question", default=QUESTION, help="what the report shall answer")
    parser.add_argument("--folder", type=Path, default=ROOT, help="folder with .md, .rst and .txt files")
    parser.add_argument("--include", action="append", help="glob pattern below the folder; may be repeated")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "research_report", help="where the report goes")
    given = parser.parse_args(arguments)
    wanted = environment.get("DEMO_DECISION", "").strip().lower()
    if wanted and wanted not in DECISIONS:
        parser.error(f"DEMO_DECISION={wanted}: must be one of {', '.join(DECISIONS)}, or not set at all")
    if terminal is None:
        terminal = sys.stdin.isatty() and sys.stdout.isatty()
    because = f"DEMO_DECISION={wanted}" if wanted else "" if terminal else "there is no terminal"
    kill = environment.get("DEMO_KILL", "") not in {"", "0"}
    default_include = INCLUDE if given.folder.resolve() == ROOT else ("**/*",)
    return Settings(
        question=given.question,
        folder=given.folder.resolve(),
        include=tuple(given.include or default_include),
        out=given.out.resolve(),
        decisions=DECISIONS[wanted or "approve"] if because else None,
        decided_because=because,
        kill=kill,
        step_s=_seconds(parser, environment.get("DEMO_STEP_S", ""), STEP_S_WITH_KILL if kill else STEP_S),
    )


def _seconds(parser: argparse.ArgumentParser, text: str, default: float) -> float:
    try:
        return float(text) if text else default
    except ValueError:
        parser.error(f"DEMO_STEP_S={text}: must be a number of seconds")
