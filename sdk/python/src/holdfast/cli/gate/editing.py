"""Lets a person change what a gate proposes, in an editor of their own."""

import json
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.cli.context import Cli
from holdfast.cli.faults import Refusal, UsageFault
from holdfast.cli.values import parse_json

if TYPE_CHECKING:
    from holdfast.v1.gate_pb2 import Gate

__all__ = ["edited_subject"]


def edited_subject(cli: Cli, gate: "Gate") -> Any:
    """Open the gate's subject in an editor and return the new one as a payload; None if nothing was changed.

    A file that is no JSON is kept, and told, so that nothing typed is lost.

    Raises:
        UsageFault: Nobody is there to edit, the editor cannot be started, or the file is no JSON.
        Refusal: The editor failed.
    """
    from holdfast.cli.render.json import payload_value
    from holdfast.v1.payload_pb2 import Payload

    if not cli.environment.is_person():
        raise UsageFault("there is no terminal for an editor", hint="give the new content: --payload @FILE")
    before = json.dumps(payload_value(gate.content.subject), indent=2, ensure_ascii=False) + "\n"
    with tempfile.NamedTemporaryFile("w", suffix=".json", prefix="holdfast-", delete=False, encoding="utf-8") as file:
        file.write(before)
    path = Path(file.name)
    _edit(cli, path)
    after = path.read_text(encoding="utf-8")
    if after == before:
        path.unlink()
        cli.tell("nothing was changed; the gate is as it was")
        return None
    try:
        parse_json(after, str(path))
    except UsageFault as fault:
        again = f"holdfast gate edit {shlex.quote(gate.run_id)} {shlex.quote(gate.step_path)}"
        raise UsageFault(
            fault.message, *fault.details, hint=f"your text is kept; mend it, then: {again} --payload @{path}"
        ) from fault
    path.unlink()
    return Payload(data=after.strip().encode())


def _edit(cli: Cli, path: Path) -> None:
    variables = cli.environment.variables
    editor = variables.get("VISUAL") or variables.get("EDITOR") or "vi"
    try:
        done = subprocess.run([*shlex.split(editor), str(path)], check=False)  # noqa: S603 - the person's own editor
    except OSError as fault:
        path.unlink()
        raise UsageFault(f"cannot start the editor {editor!r}: {fault.strerror}", hint="set EDITOR") from fault
    if done.returncode:
        raise Refusal(f"the editor ended with code {done.returncode}; nothing was decided", f"your text is in {path}")
