"""Invariant: what a distribution imports, it declares. Otherwise it works only where somebody installed it by hand."""

import ast
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.tree import MANIFESTS, name_of, text_of

# An editable install names no packages, so ours are added.
PROVIDERS = {**packages_distributions(), **{name.replace("-", "_"): [name] for name in MANIFESTS}}
CLIENT_EXTRA = MANIFESTS["holdfast"].parent / "src" / "holdfast" / "cli"
# Packages that several distributions fill; the second component tells whose a module is.
SHARED = {
    "google.protobuf": "protobuf",
    "google.rpc": "googleapis-common-protos",
    "google.api": "googleapis-common-protos",
}
# pydantic documents this package as a part of itself, and pins it exactly.
PROVIDERS["pydantic_core"] = ["pydantic"]


def _declared(name: str, extras: frozenset[str] = frozenset()) -> set[str]:
    """Return the distributions a user has after installing this one, ours followed to theirs."""
    project = tomllib.loads(text_of(MANIFESTS[name]))["project"]
    optional = project.get("optional-dependencies", {})
    groups = (project["dependencies"], *(optional[extra] for extra in extras))
    requirements = [Requirement(line) for group in groups for line in group]
    declared = {name, *(str(canonicalize_name(requirement.name)) for requirement in requirements)}
    for requirement in requirements:
        if requirement.name in MANIFESTS:
            declared |= _declared(requirement.name, frozenset(requirement.extras))
    return declared


def _imports(source: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            # `from google import rpc` names the module in the second half.
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _providers_of(module: str) -> set[str]:
    top, _, rest = module.partition(".")
    owner = SHARED.get(f"{top}.{rest.partition('.')[0]}")
    return {owner} if owner else {str(canonicalize_name(found)) for found in PROVIDERS.get(top, [])}


def _undeclared(name: str, paths: Iterable[Path], extras: frozenset[str] = frozenset()) -> set[str]:
    declared = _declared(name, extras)
    return {
        f"{name_of(path)}: {module}"
        for path in paths
        for module in _imports(text_of(path))
        if module.partition(".")[0] not in sys.stdlib_module_names and not _providers_of(module) & declared
    }


@pytest.mark.parametrize("name", sorted(MANIFESTS))
def test_every_import_is_declared(name: str) -> None:
    modules = (MANIFESTS[name].parent / "src").rglob("*.py")

    assert _undeclared(name, (path for path in modules if not path.is_relative_to(CLIENT_EXTRA))) == set()


def test_every_import_of_the_command_line_is_declared_in_its_extra() -> None:
    assert _undeclared("holdfast", CLIENT_EXTRA.rglob("*.py"), frozenset({"cli"})) == set()
