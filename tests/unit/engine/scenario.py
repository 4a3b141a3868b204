"""The language of golden scenarios: a definition, then commands, each followed by the events it made.

A file holds scenarios, each begun by `=== title`. What follows up to a line `---` is the definition in YAML; then come
commands on lines that start with `> `, and lines of comment that start with `# `. All other lines are what was printed.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.duration_pb2 import Duration

from holdfast.v1.definition_pb2 import Approvers
from holdfast.v1.errors_pb2 import ErrorReason
from holdfast.v1.history_pb2 import HistoryEvent
from holdfast.v1.payload_pb2 import Payload
from holdfast_server.engine import commands as c, failures
from holdfast_server.engine.effects import Timer
from holdfast_server.engine.refusal import Refused
from holdfast_server.engine.settings import EngineSettings
from tests.unit.engine.driver import Play
from tests.unit.engine.wording import event_line, state_lines

__all__ = ["Scenario", "read_file", "written"]

UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
LIMITS = EngineSettings(inline_bytes=1_000, payload_bytes=100_000, unconsumed_signals=3, gate_body_bytes=2_000)
"""Smaller limits, so that scenarios show them without filling the file."""


@dataclass(slots=True)
class Scenario:
    """One scenario of a file.

    Attributes:
        lines: commands and comments in order.
        expected: everything from the first command on, as the file has it.
    """

    title: str
    definition: str
    lines: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def play(self) -> list[str]:
        """What the commands print now, with the commands."""
        actor = _Player(Play(self.definition, LIMITS))
        printed: list[str] = []
        for line in self.lines:
            printed.append(line)
            if line.startswith("> "):
                printed += actor.carry_out(line[2:])
        return printed


def read_file(path: Path) -> list[Scenario]:
    """The scenarios of a file."""
    found: list[Scenario] = []
    definition: list[str] | None = None
    for line in path.read_text().splitlines():
        if line.startswith("=== "):
            found.append(Scenario(line[4:], ""))
            definition = []
        elif not found:
            continue
        elif definition is not None:
            if line == "---":
                found[-1].definition = "\n".join(definition)
                definition = None
            else:
                definition.append(line)
        elif line:
            found[-1].expected.append(line)
            if line.startswith(("> ", "# ")):
                found[-1].lines.append(line)
    return found


def written(path: Path, printed: list[list[str]]) -> str:
    """The text of the file with what was printed now."""
    head = path.read_text().partition("=== ")[0]
    parts = [
        "\n".join([f"=== {scenario.title}", scenario.definition, "---", *_spaced(lines)])
        for scenario, lines in zip(read_file(path), printed, strict=True)
    ]
    return head + "\n\n".join(parts) + "\n"


def _spaced(lines: list[str]) -> Iterator[str]:
    """A blank line in front of each command, or of the comments on it."""
    before = "# "
    for line in lines:
        if line.startswith(("> ", "# ")) and not before.startswith("# "):
            yield ""
        yield line
        before = line


class _Player:
    """Carries out the commands of a scenario."""

    def __init__(self, play: Play) -> None:
        self.play = play

    def carry_out(self, line: str) -> list[str]:
        word, *words = _words(line)
        given = {name: value for name, value in words if name}
        plain = [value for name, value in words if not name]
        method = getattr(self, f"do_{word[1]}")
        try:
            made: list[HistoryEvent] | None = method(*plain, **given)
        except Refused as refused:
            reason = ErrorReason.Name(refused.reason).removeprefix("ERROR_REASON_")
            facts = "".join(f" {name}={value}" for name, value in refused.metadata.items() if name not in QUIET)
            fields = "".join(f" [{name}]" for name, _ in refused.violations)
            return [f"! {reason}{fields}: {_timeless(refused.message)}{_timeless(facts)}"]
        printed = [event_line(event) for event in made or ()]
        if self.play.rejection is not None:
            reason = ErrorReason.Name(self.play.rejection.reason).removeprefix("ERROR_REASON_")
            printed.append(f"! {reason}: {self.play.rejection.message}")
            self.play.rejection = None
        return printed + [f"= {one}" for one in state_lines(self.play)]

    # Each method is a command of the language.

    def do_start(self, **given: Any) -> list[HistoryEvent]:
        if "after" in given:
            given["start_after_us"] = self.play.now_us + round(_seconds(given.pop("after")) * 1_000_000)
        if "timeout" in given:
            given["timeout_us"] = round(_seconds(given.pop("timeout")) * 1_000_000)
        if "signals" in given:
            given["signals"] = [(one["name"], one.get("payload")) for one in given["signals"]]
        return self.play.start(**given)

    def do_take(self, path: str, worker: str = "w1") -> list[HistoryEvent]:
        return self.play.take(path, worker)

    def do_complete(self, path: str, output: object = None, attempt: int = 0, raw: str = "") -> list[HistoryEvent]:
        if raw:  # data that are no JSON
            command = c.CompleteTask(path, self.play.record(path).attempt, Payload(data=raw.encode()))
            return self._taken(path, attempt) + self.play.do(command)
        return self._taken(path, attempt) + self.play.complete(path, output, attempt)

    def do_fail(self, path: str, kind: str = "Oops", attempt: int = 0, **fields: Any) -> list[HistoryEvent]:
        if "retry_after" in fields:
            fields["retry_after"] = Duration(seconds=round(_seconds(fields["retry_after"])))
        return self._taken(path, attempt) + self.play.fail(path, kind, attempt, **fields)

    def do_found(self, path: str, kind: str) -> list[HistoryEvent]:
        return self._taken(path, 0) + self.play.found(path, failures.failure(kind, "found by the server"))

    def do_stop(self, path: str) -> list[HistoryEvent]:
        return self._taken(path, 0) + self.play.stop(path)

    def do_return(self, path: str) -> list[HistoryEvent]:
        return self.play.give_back(path)

    def do_signal(self, name: str, value: object = None) -> list[HistoryEvent]:
        return self.play.signal(name, value)

    def do_decide(self, path: str, decision: str, value: object = None, **fields: Any) -> list[HistoryEvent]:
        if "to" in fields:
            fields["to"] = Approvers(principals=fields["to"])
        if "hash" in fields:
            fields["content_hash"] = fields.pop("hash").encode()
        return self.play.say(path, decision, value=value, **fields)

    def do_elapse(self, time: str) -> list[HistoryEvent]:
        return self.play.elapse(_seconds(time))

    def do_jump(self, time: str) -> list[HistoryEvent]:
        self.play.jump(_seconds(time))
        return []

    def do_fire(self, path: str, timer: str) -> list[HistoryEvent]:
        return self.play.fire("" if path == "-" else path, Timer(timer))

    def do_restart(self) -> list[HistoryEvent]:
        self.play.restart()
        return []

    def do_pause(self, note: str = "") -> list[HistoryEvent]:
        return self.play.do(c.Pause(note), "ops")

    def do_resume(self, note: str = "") -> list[HistoryEvent]:
        return self.play.do(c.Resume(note), "ops")

    def do_cancel(self, reason: str = "", request: str = "") -> list[HistoryEvent]:
        return self.play.do(c.Cancel(reason), "ops", request)

    def do_terminate(self, reason: str = "") -> list[HistoryEvent]:
        return self.play.do(c.Terminate(reason), "ops")

    def do_retry_step(self, path: str, note: str = "") -> list[HistoryEvent]:
        return self.play.do(c.RetryStep(path, note), "ops")

    def do_skip_step(self, path: str, output: object = None, note: str = "", raw: str = "") -> list[HistoryEvent]:
        if raw:  # data that are no JSON
            return self.play.do(c.SkipStep(path, Payload(data=raw.encode()), note), "ops")
        return self.play.skip(path, output, note)

    def do_fail_step(self, path: str, kind: str = "", message: str = "", note: str = "") -> list[HistoryEvent]:
        return self.play.do(c.FailStep(path, kind, message, note), "ops")

    def do_retry(self, note: str = "") -> list[HistoryEvent]:
        return self.play.do(c.Retry(note), "ops")

    def _taken(self, path: str, attempt: int) -> list[HistoryEvent]:
        """Only what is about the last attempt has to be handed out first."""
        return self.play.take(path) if not attempt and path in self.play.outside.ready else []


QUIET = frozenset({"run_id", "step_path", "content_hash"})


def _timeless(text: str) -> str:
    return re.sub(r"20\d\d-[0-9T:.-]+Z", "<time>", text)


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(-?[0-9.]+)(ms|s|m|h|d)", text)
    assert found is not None, text
    return float(found[1]) * UNITS_S[found[2]]


def _words(line: str) -> list[tuple[str, Any]]:
    """(name, value) of each word; values are JSON where they look like it; `"@9000"` is a text of that length."""
    words: list[tuple[str, Any]] = []
    at = 0
    while at < len(line):
        if line[at] == " ":
            at += 1
            continue
        name = ""
        if found := re.match(r"([a-z_]+)=", line[at:]):
            name = found[1]
            at += len(found[0])
        if line[at] in '{["' or re.match(r"(-?[0-9.]+|true|false|null)( |$)", line[at:]):
            value, end = json.JSONDecoder().raw_decode(line[at:])
            at += end
        else:
            value = line[at:].partition(" ")[0]
            at += len(value)
        words.append((name, _grown(value)))
    return words


def _grown(value: Any) -> Any:
    match value:
        case str() if re.fullmatch(r"@\d+", value):
            return "x" * int(value[1:])
        case list():
            return [_grown(one) for one in value]
        case dict():
            return {name: _grown(one) for name, one in value.items()}
    return value
