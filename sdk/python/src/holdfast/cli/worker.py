"""`holdfast worker`: run the handlers of a module, and list the workers that are connected."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from holdfast.cli.context import Cli
from holdfast.cli.declaring import command, group
from holdfast.cli.exits import ExitCode
from holdfast.cli.faults import UsageFault
from holdfast.cli.settings import VALUE_OPTIONS

RUN = "run"


class _WorkerGroup(TyperGroup):
    """A group whose first word may be a module: `holdfast worker MODULE` is `holdfast worker run MODULE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        first = _first_word(args)
        if first is not None and first not in self.commands:
            args = [RUN, *args]
        return super().parse_args(ctx, args)


def _first_word(args: list[str]) -> str | None:
    """Return the first argument that is neither a shared option nor its value; None if there is only help to give."""
    words = iter(args)
    for word in words:
        if word in VALUE_OPTIONS:
            next(words, None)
        elif word in {"-h", "--help"}:
            return None
        elif word.partition("=")[0] not in VALUE_OPTIONS and word != "--no-color":
            return word
    return None


app = group("worker", "Run a worker (`holdfast worker MODULE`), or list the connected ones.", cls=_WorkerGroup)


@command(app, RUN)
def run_worker(
    cli: Cli,
    modules: Annotated[
        list[str],
        typer.Argument(metavar="MODULE...", help="Python modules with handlers: dotted names, or paths of .py files."),
    ],
    queue: Annotated[
        str, typer.Option("--queue", metavar="NAME", help="Queue of the handlers that name none.")
    ] = "default",
    slots: Annotated[int, typer.Option("--slots", min=1, metavar="N", help="Most tasks at once.")] = 50,
    worker_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Id of the worker. Else one of host and process.")
    ] = None,
    build_id: Annotated[
        str, typer.Option("--build-id", metavar="TEXT", help="Version of your code, shown to operators.")
    ] = "",
    grace: Annotated[
        str, typer.Option("--grace", metavar="DURATION", help="How long running handlers may go on after a stop.")
    ] = "30s",
    register: Annotated[
        bool, typer.Option("--register", help="Register the workflows that the modules build, first.")
    ] = False,
) -> int:
    """Run a worker that serves the handlers of modules, until Ctrl-C or SIGTERM; the word `run` may be left out."""
    from holdfast.cli.values import duration
    from holdfast.errors import HandlerError, ModuleError, WorkerError

    grace_s = duration(grace, "--grace").total_seconds()
    log_to_stderr()
    from holdfast.worker.module import run_module

    settings = cli.settings
    try:
        run_module(
            modules,
            target=settings.target,
            namespace=settings.namespace,
            actor=settings.actor,
            register=register,
            queue=queue,
            slots=slots,
            worker_id=worker_id,
            build_id=build_id,
            grace_s=grace_s,
        )
    except ModuleError as fault:
        raise UsageFault(str(fault), *_where(fault.__cause__), hint="mend it, then start the worker again") from fault
    except HandlerError as fault:
        raise UsageFault(str(fault), hint="mend it, then start the worker again") from fault
    except WorkerError as fault:
        raise UsageFault(str(fault), hint="see what it takes: holdfast worker run --help") from fault
    return ExitCode.OK


def _where(fault: BaseException | None) -> list[str]:
    """Return the lines of the user's code a fault came through, without those that imported it."""
    import traceback
    from pathlib import Path

    from holdfast.worker import module

    ours = Path(module.__file__)
    frames = traceback.extract_tb(fault.__traceback__ if fault else None)
    theirs = [f for f in frames if not f.filename.startswith("<frozen ") and Path(f.filename) != ours]
    # The place of a syntax error is no frame: nothing of the file has run.
    own = traceback.format_exception_only(fault)[:-1] if isinstance(fault, SyntaxError) else []
    return [line for text in (*traceback.format_list(theirs), *own) for line in text.splitlines()]


def log_to_stderr() -> None:
    """Let the worker and the user's code log to stderr; what they log may come from elsewhere, so it is scrubbed."""
    import logging

    from holdfast.scrub import scrub

    class Scrubbing(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return scrub(super().format(record), multiline=True)

    handler = logging.StreamHandler()
    handler.setFormatter(Scrubbing("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


@command(app, "list")
async def list_workers(cli: Cli) -> None:
    """List the connected workers, what they serve and how busy they are."""
    from holdfast.cli.render.operations import worker_list

    async with cli.client() as client:
        found = [worker async for worker in client.operations.workers()]
    cli.result(lambda: found, lambda: worker_list(found, cli.moments) if found else None)
    if not found:
        cli.empty("no worker is connected", "holdfast worker MODULE")
