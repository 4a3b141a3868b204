"""`holdfast workflow`: register, check and show definitions."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.context import Cli
from holdfast.cli.declaring import command, group
from holdfast.cli.exits import ExitCode
from holdfast.cli.faults import UsageFault
from holdfast.cli.options import Workflow

if TYPE_CHECKING:
    from holdfast.client import Client
    from holdfast.errors import InvalidDefinitionError
    from holdfast.v1.workflow_service_pb2 import Diagnostic

app = group("workflow", "Register, check and show workflows.")

Files = Annotated[list[str], typer.Argument(metavar="FILE...", help="YAML or JSON documents; - is standard input.")]


@command(app, "register")
async def register(cli: Cli, files: Files) -> int:
    """Register workflows from files; content that is registered already makes no new version."""
    from holdfast.errors import InvalidDefinitionError

    documents = [(name, _read(cli, name)) for name in files]
    results, faulty = [], 0
    async with cli.client() as client:
        for name, document in documents:
            try:
                answer = await client.register(document)
            except InvalidDefinitionError as fault:
                faulty += 1
                _tell_faults(cli, name, await _faults(client, document, fault))
                continue
            results.append(answer)
            if not cli.json:
                what = "registered" if answer.created else "unchanged"
                cli.out.print(f"{what}  ", _safe(f"{answer.workflow.name} v{answer.workflow.version}"), sep="")
    if cli.json:
        cli.document([_registered(answer) for answer in results])
    if faulty:
        _tell_next(cli)
        return ExitCode.REFUSED
    cli.next(*(f"holdfast run start {_quoted(a.workflow.name)}" for a in results[:1]))
    return ExitCode.OK


@command(app, "validate")
async def validate(cli: Cli, files: Files) -> int:
    """Check files without registering them; all faults are told at once, each with its place."""
    from holdfast.cli.render.json import plain

    documents = [(name, _read(cli, name)) for name in files]
    found = []
    async with cli.client() as client:
        for name, document in documents:
            faults = await client.validate(document)
            found.append({"file": name, "valid": not faults, "diagnostics": [plain(fault) for fault in faults]})
            if faults:
                _tell_faults(cli, name, faults)
            elif not cli.json:
                cli.out.print("valid  ", _safe(name), sep="")
    if cli.json:
        cli.document(found)
    if all(one["valid"] for one in found):
        return ExitCode.OK
    _tell_next(cli)
    return ExitCode.REFUSED


@command(app, "list")
async def list_workflows(cli: Cli) -> None:
    """List the workflows, each with its latest version."""
    from holdfast.cli.render.workflows import workflow_list

    async with cli.client() as client:
        found = [workflow async for workflow in client.workflows.list()]
    cli.result(lambda: found, lambda: workflow_list(found, cli.moments) if found else None)
    if not found:
        cli.empty("no workflows are registered", "holdfast workflow register FILE")


@command(app, "show")
async def show(
    cli: Cli,
    workflow: Workflow,
    version: Annotated[int, typer.Option("--version", min=0, metavar="N", help="Version; 0 for the latest.")] = 0,
    versions: Annotated[bool, typer.Option("--versions", help="List all its versions instead.")] = False,
    source: Annotated[bool, typer.Option("--source", help="Print the document as it was registered.")] = False,
) -> None:
    """Show a workflow: its steps, what it takes, and what it can be told and asked."""
    from holdfast.cli.render.workflows import version_list, workflow_page
    from holdfast.scrub import scrub

    async with cli.client() as client:
        if versions:
            found = [one async for one in client.workflows.versions(workflow)]
            cli.result(lambda: found, lambda: version_list(found, cli.moments))
            return
        shown = await client.workflows.get(workflow, version)
    if source and not cli.json:
        typer.echo(scrub(shown.source, multiline=True).rstrip("\n"))
        return
    cli.result(lambda: shown, lambda: workflow_page(shown, cli.moments))
    cli.next(f"holdfast run start {_quoted(workflow)}")


def _read(cli: Cli, name: str) -> Path | str:
    """Return a document in the form the client takes: a readable file, or the text of the standard input."""
    from holdfast.cli.values import read_source

    text, _ = read_source("-" if name == "-" else f"@{name}", "FILE" if name == "-" else "", cli.environment)
    if not text.strip():
        raise UsageFault(f"{name}: is empty")
    return text if name == "-" else Path(name)


async def _faults(client: "Client", document: Path | str, fault: "InvalidDefinitionError") -> "list[Diagnostic]":
    """Return the faults of a document with their lines, which only the check tells."""
    from holdfast.v1.workflow_service_pb2 import Diagnostic

    found = await client.validate(document)
    if found:
        return found
    return [Diagnostic(path=v.field, message=v.description) for v in fault.violations] or [
        Diagnostic(message=fault.message)
    ]


def _tell_faults(cli: Cli, name: str, faults: "list[Diagnostic]") -> None:
    from holdfast.cli.render.workflows import fault_lines

    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    cli.fail(f"{name} has {count} (INVALID_DEFINITION)")
    for line in fault_lines(name, faults):
        cli.err.print(line, soft_wrap=not cli.err.is_terminal)


def _tell_next(cli: Cli) -> None:
    cli.tell(f"  next: {cli.hint('INVALID_DEFINITION')}", style="dim")


def _registered(answer: object) -> dict[str, object]:
    from holdfast.cli.render.json import plain

    return {**plain(answer.workflow), "created": answer.created}  # type: ignore[attr-defined]


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)


def _safe(text: str) -> object:
    from holdfast.cli.render.words import safe

    return safe(text)
