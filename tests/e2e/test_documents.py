"""What the documents say is so: their commands run, their code works, their definitions are valid, their links lead on.

What the blocks of a document mean here is written down in CONTRIBUTING.md, "Documents".
"""

import ast
import asyncio
import inspect
import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from holdfast.testing import ServerProcess
from holdfast.v1.workflow_service_pb2 import DocumentFormat
from holdfast_server.config import ServerConfig
from holdfast_server.definition import parse
from tests.e2e.documents import DOCUMENTS, ROOT, Block, Command, blocks_of, commands_of, missing_line, text_of
from tests.e2e.shell import Shell, free_port, scratch_checkout

BLOCKS = [block for document in DOCUMENTS for block in blocks_of(document)]
MAKE = re.compile(r"make( [A-Z_]+=\S+| [a-z-]+)*")
SERVES = re.compile(r"\bholdfast (server|dev)\b")
TESTED_ELSEWHERE = {
    "bench/README.md": "tests/e2e/test_bench.py",
    "docs/cli.md": "tests/unit/cli/test_docs.py",
    "examples/research_report/README.md": "tests/e2e/test_demo.py",
}
"""Documents whose commands are run by a test of their own."""
LANGUAGES = frozenset({"console", "json", "proto", "python", "sh", "sql", "text", "toml", "yaml"})
NEEDS_A_SERVER = Command(
    "", "holdfast dev examples/hello", keeps_running=True, output=["… registered … workflow=hello"]
)
NEEDS_A_WORKER = Command("", "holdfast worker examples.hello.hello", keeps_running=True, output=["… serves default: …"])
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


def _blocks(language: str) -> list[Block]:
    return [block for block in BLOCKS if block.language == language and not block.not_run]


def _place(thing: Block | Command) -> str:
    return thing.place


def test_every_block_says_what_it_is() -> None:
    unknown = [
        f"{block.place}: {block.language!r}"
        for block in BLOCKS
        if block.language not in LANGUAGES and block.document not in TESTED_ELSEWHERE
    ]

    assert unknown == []


# -- commands --------------------------------------------------------------------------------------------------------


def _split(document: str) -> tuple[list[Command], list[Command]]:
    """The `make` commands of a document, which have tests of their own, and all others."""
    # Some pages show commands with choices of the reader's; they have tests of their own.
    commands = commands_of(document) if document not in TESTED_ELSEWHERE else []
    return [c for c in commands if MAKE.fullmatch(c.text)], [c for c in commands if not MAKE.fullmatch(c.text)]


WITH_COMMANDS = [document for document in DOCUMENTS if _split(document)[1]]
MAKE_COMMANDS = [command for document in DOCUMENTS for command in _split(document)[0]]


@pytest.mark.parametrize("document", WITH_COMMANDS)
def test_commands_do_what_the_document_shows(document: str, tmp_path: Path) -> None:
    scratch_checkout(tmp_path)
    commands = _split(document)[1]
    with Shell(tmp_path, free_port()) as shell:
        if not any(SERVES.search(command.text) for command in commands):
            shell.run(NEEDS_A_SERVER)
            shell.run(NEEDS_A_WORKER)
        for command in commands:
            shell.run(command)


@pytest.mark.parametrize("command", MAKE_COMMANDS, ids=_place)
def test_make_commands_have_a_recipe(command: Command) -> None:
    # Not run: `make test` would run this test again, and the others are what `.ci/run` runs one by one.
    text = command.text.replace("make", "make --dry-run --no-print-directory", 1)
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
    ended = subprocess.run(["bash", "-c", text], cwd=ROOT, env=environment, check=False, capture_output=True, text=True)

    assert ended.returncode == 0, ended.stderr


def test_the_demonstration_has_tests_of_its_own() -> None:
    recipe = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "demo"],
        cwd=ROOT,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    tests = (ROOT / "tests" / "e2e" / "test_demo.py").read_text(encoding="utf-8")

    (module,) = re.findall(r"-m (\S*demo)\b", recipe)
    assert f'"{module}"' in tests


def test_documents_that_are_tested_elsewhere_are() -> None:
    assert [test for test in TESTED_ELSEWHERE.values() if not (ROOT / test).exists()] == []


def test_a_server_that_keeps_running_shows_when_it_is_ready() -> None:
    # The commands after it wait for what the document shows.
    silent = [
        command.place
        for document in DOCUMENTS
        for command in _split(document)[1]
        if SERVES.search(command.text) and command.keeps_running and not command.output
    ]

    assert silent == []


# -- code and definitions --------------------------------------------------------------------------------------------


def _runnable(document: str) -> list[Block]:
    return [block for block in _blocks("python") if block.document == document and not block.excerpt_of]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "holdfast.db") as server:
        yield server


@pytest.mark.parametrize("document", sorted({block.document for block in _blocks("python") if not block.excerpt_of}))
def test_snippets_run(document: str, server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "checkout"
    scratch.mkdir()
    scratch_checkout(scratch)
    monkeypatch.chdir(scratch)
    names: dict[str, object] = {"__name__": "snippet"}

    async def run_all() -> None:
        for block in _runnable(document):
            # On the lines they have in the document, so that a traceback leads there.
            source = "\n" * (block.line - 1) + block.text.replace("localhost:7411", server.target)
            code = compile(source, str(ROOT / document), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            ended = eval(code, names)  # noqa: S307 - our own documents
            if inspect.iscoroutine(ended):
                await ended

    asyncio.run(run_all())


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.excerpt_of], ids=_place)
def test_excerpts_are_what_the_file_says(block: Block) -> None:
    assert block.text.strip("\n") in (ROOT / block.excerpt_of).read_text(encoding="utf-8")


@pytest.mark.parametrize("block", _blocks("yaml"), ids=_place)
def test_definitions_are_valid(block: Block) -> None:
    value = YAML(typ="safe").load(block.text)
    if isinstance(value, dict) and "steps" in value:
        parsed = parse(block.text, DocumentFormat.DOCUMENT_FORMAT_YAML)
        assert [f"line {one.line}: {one.path}: {one.message}" for one in parsed.diagnostics] == []


@pytest.mark.parametrize("block", [*_blocks("json"), *_blocks("toml")], ids=_place)
def test_data_can_be_read(block: Block, tmp_path: Path) -> None:
    if block.language == "json":
        json.loads(block.text)
        return
    tomllib.loads(block.text)
    file = tmp_path / "holdfast.toml"
    file.write_text(block.text, encoding="utf-8")
    ServerConfig.load(file)


# -- links -----------------------------------------------------------------------------------------------------------


def _anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = HEADING.findall(document.read_text(encoding="utf-8"))
    plain = [re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()) for heading in headings]
    return {heading.strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    broken = []
    text = re.sub(r"^```.*?^```", "", text_of(document), flags=re.MULTILINE | re.DOTALL)
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / document).parent / path if path else ROOT / document
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(link)

    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_named_in_a_document_exist(document: str) -> None:
    folders = "bench|docs|examples|proto|sdk|server|tests|tui"
    named = re.findall(rf"`((?:{folders})/[\w./-]+)`", text_of(document))

    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_invariant_of_the_architecture_has_its_test() -> None:
    section = text_of("ARCHITECTURE.md").partition("\n## Invariants\n")[2].partition("\n## ")[0]
    invariants = [paragraph for paragraph in section.split("\n\n") if paragraph.strip()]

    assert len(invariants) > 10
    assert [one for one in invariants if not one.strip().startswith("**") or "`tests/" not in one] == []


def test_the_code_map_names_every_room_of_the_server() -> None:
    server = ROOT / "server" / "src" / "holdfast_server"
    rooms = [path.name for path in server.iterdir() if (path / "__init__.py").exists()]

    code_map = text_of("ARCHITECTURE.md")
    assert [room for room in rooms if f"`server/src/holdfast_server/{room}/`" not in code_map] == []


# -- the reader of documents itself ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("documented", "printed", "missing"),
    [
        (["a 1", "b 2"], "a 7\nx\nb 9\n", None),
        (["b", "a"], "a\nb\n", "a"),
        (["run … is here"], "run 01a20758-e918 is here\n", None),
        (["…", "end"], "start\nend\n", None),
        (["took 1.5 s"], "took 12.25   s\n", None),
        (["SUCCEEDED"], "\x1b[32mSUCCEEDED\x1b[0m\n", None),
        (["SUCCEEDED"], "FAILED\n", "SUCCEEDED"),
    ],
)
def test_output_is_compared_without_what_changes(documented: list[str], printed: str, missing: str | None) -> None:
    assert missing_line(documented, printed) == missing
