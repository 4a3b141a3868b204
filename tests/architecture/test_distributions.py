"""Invariant: three distributions in lockstep, each dependency known, explained and pinned."""

import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.tree import MANIFESTS, ROOT, text_of

PINS = ROOT / "constraints.txt"
COMPILER_PINS = ROOT / "proto" / "generator-requirements.txt"
PAGE = ROOT / "docs" / "dependencies.md"
PIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][A-Za-z0-9.+!]*")


def _project(name: str) -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads(text_of(MANIFESTS[name]))["project"]
    return project


def _requirements(name: str) -> Iterator[Requirement]:
    project = _project(name)
    for group in (project["dependencies"], *project.get("optional-dependencies", {}).values()):
        yield from map(Requirement, group)


def _tools() -> Iterator[Requirement]:
    for group in tomllib.loads(text_of(ROOT / "pyproject.toml"))["dependency-groups"].values():
        yield from map(Requirement, group)


def _build_tools() -> Iterator[Requirement]:
    for manifest in MANIFESTS.values():
        yield from map(Requirement, tomllib.loads(text_of(manifest))["build-system"]["requires"])


def _all_foreign_names() -> set[str]:
    requirements = [r for name in MANIFESTS for r in _requirements(name)]
    names: set[str] = {canonicalize_name(r.name) for r in (*requirements, *_tools(), *_build_tools())}
    return names - set(MANIFESTS)


def _pinned(lines: str) -> dict[str, str]:
    pins = [line.partition("==") for line in lines.splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, _, version in pins}


def test_versions_are_in_lockstep() -> None:
    versions = {name: _project(name)["version"] for name in MANIFESTS}

    assert len(set(versions.values())) == 1, versions


@pytest.mark.parametrize("name", ["holdfast-server", "holdfast-tui"])
def test_server_and_screens_depend_on_exactly_this_client(name: str) -> None:
    clients = [str(r) for r in _requirements(name) if r.name == "holdfast"]

    assert clients == [f"holdfast[cli]=={_project(name)['version']}"]


def test_changelog_knows_the_version_or_what_comes() -> None:
    version = _project("holdfast")["version"]

    assert re.search(rf"^## \[(Unreleased|{re.escape(version)})\]", text_of(ROOT / "CHANGELOG.md"), re.MULTILINE)


def test_every_dependency_has_its_reason_and_every_reason_its_dependency() -> None:
    explained = [canonicalize_name(n) for n in re.findall(r"^\| `([^`]+)` \| \S.*\|$", text_of(PAGE), re.MULTILINE)]
    bootstrapped = {"editables", "grpcio-tools", "pip"}  # installed by `make setup` and `make generate` themselves

    assert sorted(explained) == sorted(_all_foreign_names() | bootstrapped)


def test_every_dependency_is_pinned_within_its_range() -> None:
    pins = _pinned(text_of(PINS))
    requirements = [r for name in MANIFESTS for r in _requirements(name) if r.name not in MANIFESTS]
    faults = [
        f"{requirement} against {pins.get(canonicalize_name(requirement.name), 'no pin')}"
        for requirement in (*requirements, *_tools(), *_build_tools())
        if not requirement.specifier.contains(pins.get(canonicalize_name(requirement.name), "0"))
        or canonicalize_name(requirement.name) not in pins
    ]

    assert faults == []


@pytest.mark.parametrize("path", [PINS, COMPILER_PINS], ids=lambda path: path.name)
def test_pins_are_names_and_versions_only(path: Any) -> None:
    lines = [line for line in text_of(path).splitlines() if line and not line.startswith("#")]

    assert [line for line in lines if not PIN.fullmatch(line)] == []
    assert lines == sorted(lines, key=str.casefold) or path == COMPILER_PINS


def test_generated_code_asks_no_more_than_the_client_promises() -> None:
    promised = {r.name: r.specifier for r in _requirements("holdfast")}
    compiler = _pinned(text_of(COMPILER_PINS))["grpcio-tools"]
    generated = sorted((ROOT / "sdk" / "python" / "src" / "holdfast" / "v1").glob("*_pb2.py"))
    demanded = {
        match.group(1) for path in generated if (match := re.search(r"Protobuf Python Version: (\S+)", text_of(path)))
    }

    assert len(demanded) == 1
    assert f">={demanded.pop()}" in str(promised["protobuf"]).split(",")
    assert f">={compiler.rpartition('.')[0]}" in str(promised["grpcio"]).split(",")


@pytest.mark.parametrize("name", sorted(MANIFESTS))
def test_each_distribution_carries_types_and_licence(name: str) -> None:
    folder = MANIFESTS[name].parent

    assert (folder / "src" / name.replace("-", "_") / "py.typed").exists()
    assert text_of(folder / "LICENSE") == text_of(ROOT / "LICENSE")
