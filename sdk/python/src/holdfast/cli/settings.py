"""The options every command takes, wherever on the line they stand, and what they mean together."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Self

import typer

__all__ = ["GLOBAL_OPTIONS", "VALUE_OPTIONS", "Output", "Settings", "note_globals"]

DEFAULT_TARGET = "localhost:7411"
DEFAULT_PORT = 7411
PANEL = "Options of every command"
META = "holdfast.globals"
VALUE_OPTIONS = frozenset({"--target", "--namespace", "-n", "--actor", "--output", "-o"})
"""The shared options that take a value."""


class Output(StrEnum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"


def _option(annotation: Any, *names: str, help: str, metavar: str | None = None) -> Any:
    return Annotated[
        annotation, typer.Option(*names, help=help, metavar=metavar, show_default=False, rich_help_panel=PANEL)
    ]


_ANNOTATIONS: dict[str, Any] = {
    "target": _option(
        str | None,
        "--target",
        help=f"Address of the server. Else HOLDFAST_TARGET, else {DEFAULT_TARGET}.",
        metavar="HOST:PORT",
    ),
    "namespace": _option(
        str | None, "--namespace", "-n", help="Namespace. Else HOLDFAST_NAMESPACE, else default.", metavar="NAME"
    ),
    "actor": _option(
        str | None,
        "--actor",
        help="Who acts, as histories shall record it. Else HOLDFAST_ACTOR, else the user of this machine.",
        metavar="NAME",
    ),
    "output": _option(
        Output | None, "--output", "-o", help="A table for people, or JSON for programs.", metavar="table|json"
    ),
    "no_color": _option(bool, "--no-color", help="Print without colours; so does the variable NO_COLOR."),
}

GLOBAL_OPTIONS = tuple(
    inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=False if name == "no_color" else None, annotation=annotation
    )
    for name, annotation in _ANNOTATIONS.items()
)
"""The options as parameters of a function, in the form typer reads."""


def note_globals(ctx: typer.Context, values: dict[str, Any]) -> None:
    """Take the shared options out of the values of a command or group and keep what was said; the innermost counts."""
    said: dict[str, Any] = ctx.meta.setdefault(META, {})
    for parameter in GLOBAL_OPTIONS:
        value = values.pop(parameter.name)
        if value not in (None, False):
            said[parameter.name] = value


@dataclass(frozen=True)
class Settings:
    """The options every command takes.

    Attributes:
        target: Address of the server.
        namespace: Namespace of everything the command does.
        actor: Who acts; None for the user of the operating system.
        output: How results are printed.
        no_color: True prints without colours.
    """

    target: str = DEFAULT_TARGET
    namespace: str = "default"
    actor: str | None = None
    output: Output = Output.TABLE
    no_color: bool = False

    @classmethod
    def of(cls, meta: Mapping[str, Any], variables: Mapping[str, str]) -> Self:
        """Return the settings: what was said on the command line, else the environment, else the defaults."""
        said = meta.get(META, {})
        return cls(
            target=_with_port(said.get("target") or variables.get("HOLDFAST_TARGET") or DEFAULT_TARGET),
            namespace=said.get("namespace") or variables.get("HOLDFAST_NAMESPACE") or "default",
            actor=said.get("actor") or variables.get("HOLDFAST_ACTOR") or None,
            output=said.get("output") or Output.TABLE,
            no_color=bool(said.get("no_color") or variables.get("NO_COLOR")),
        )


def _with_port(target: str) -> str:
    """Return the target with our port where it names a host only; gRPC would take 443."""
    return target if ":" in target else f"{target}:{DEFAULT_PORT}"
