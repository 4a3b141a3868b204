"""How commands and groups are declared: a plain function gets the shared options, a client, and its errors told."""

import inspect
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Concatenate, ParamSpec, TypeVar

import typer

from holdfast.cli.context import Cli
from holdfast.cli.environment import Environment
from holdfast.cli.running import carry_out
from holdfast.cli.settings import GLOBAL_OPTIONS, Settings, note_globals

__all__ = ["HELP_NAMES", "command", "group", "show_help"]

P = ParamSpec("P")
Body = Callable[Concatenate[Cli, P], Coroutine[Any, Any, int | None] | int | None]
BodyT = TypeVar("BodyT", bound=Callable[..., Any])
HELP_NAMES = {"help_option_names": ["-h", "--help"]}
# Options that name what a command is about; hints fill them in.
FACTS = ("run", "step", "workflow", "key")


def command(app: typer.Typer, name: str, *, hidden: bool = False) -> Callable[[Body[P]], Body[P]]:
    """Add a command to an app.

    The function takes a `Cli` and then what typer reads from its signature. A coroutine function is run to its end.
    What it returns is the exit code, None for 0; errors of the client, of usage and Ctrl-C are told and give theirs.

    Args:
        app: The app or group the command belongs to.
        name: What people type.
        hidden: True leaves it out of the help.
    """

    def register(body: Body[P]) -> Body[P]:
        signature = inspect.signature(body, eval_str=True)
        own = list(signature.parameters.values())[1:]

        def entry(ctx: typer.Context, **values: Any) -> None:
            note_globals(ctx, values)
            facts = {name: value for name in FACTS if isinstance(value := values.get(name), str)}
            environment = ctx.obj if isinstance(ctx.obj, Environment) else Environment()
            cli = Cli(environment, Settings.of(ctx.meta, environment.variables), facts, ctx.command_path)
            raise typer.Exit(carry_out(cli, lambda: body(cli, **values)))  # type: ignore[call-arg]

        _sign(entry, own)
        app.command(name, help=inspect.getdoc(body), hidden=hidden, context_settings=HELP_NAMES)(entry)
        return body

    return register


def group(name: str, help: str, *, cls: type[Any] | None = None, version: bool = False) -> typer.Typer:
    """Return a group of commands that takes the shared options itself and, without a command, shows its help.

    Args:
        name: What people type.
        help: What its commands are about.
        cls: Class of the group, where it reads its arguments differently.
        version: True for the root, which has `--version` and the options of completion.
    """
    app = typer.Typer(
        name=name,
        help=help,
        cls=cls,
        invoke_without_command=True,
        context_settings=HELP_NAMES,
        add_completion=version,
        pretty_exceptions_enable=False,
    )

    def entry(ctx: typer.Context, **values: Any) -> None:
        note_globals(ctx, values)
        if ctx.invoked_subcommand is None:
            show_help(ctx)

    _sign(entry, [_VERSION] if version else [])
    app.callback(help=help)(entry)
    return app


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(version("holdfast"))
        raise typer.Exit


_VERSION = inspect.Parameter(
    "version",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ],
)


def show_help(ctx: typer.Context) -> None:
    """Print the help of a group that was called without a command, and exit as for `--help`."""
    text = ctx.get_help()
    if text:  # with rich it is printed by then
        typer.echo(text)
    raise typer.Exit


def _sign(entry: Callable[..., None], own: list[inspect.Parameter]) -> None:
    """Give a function the signature that typer shall read: its own parameters and the shared options."""
    context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    named = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    parameters = [context, *named, *GLOBAL_OPTIONS]
    entry.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    entry.__annotations__ = {p.name: p.annotation for p in parameters}
