"""Generate the Python code of the contract from `proto/`, or check that the committed code is what it would generate.

Run by `make generate` and, with `--check`, by `make verify`. The compiler (`generator-requirements.txt`) lives in a
folder of its own under `.cache/`, because its dependencies are older than those of the product. It runs with that
folder put on `sys.path` by hand: `PYTHONPATH` would reach the stub plugins too, which belong to the development
environment.
"""

import argparse
import filecmp
import hashlib
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
REQUIREMENTS = PROTO / "generator-requirements.txt"
PACKAGE = Path("holdfast") / "v1"
OUTPUT = ROOT / "sdk" / "python" / "src"
INIT = '"""The messages and services of the Holdfast contract, generated from `proto/holdfast/v1`. Do not edit."""\n'
DECLARES_SERVICE = re.compile(r"^service\s", re.MULTILINE)
RUN_COMPILER = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from grpc_tools import protoc; sys.exit(protoc.main(sys.argv))"
)


def compiler_folder() -> Path:
    """Return the folder that holds the compiler, installing it first unless these requirements are there already."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    # Wheels depend on the interpreter, so two Pythons sharing a checkout need a folder each.
    folder = ROOT / ".cache" / "protoc" / f"{sys.implementation.cache_tag}-{digest}"
    stamp = folder / ".complete"
    if not stamp.exists():
        print(f"installing the protobuf compiler to {folder.relative_to(ROOT)}", file=sys.stderr, flush=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade"]
        command = [*pip, "--target", str(folder), "-r", str(REQUIREMENTS)]
        # Captured, because pip warns that these versions do not fit the environment, which they are not meant for.
        installation = subprocess.run(command, check=False, capture_output=True, text=True)
        if installation.returncode != 0:
            sys.exit(f"could not install the protobuf compiler:\n{installation.stdout}{installation.stderr}")
        stamp.touch()
    return folder


def generate(output: Path) -> list[Path]:
    """Write all generated files below `output` and return their paths relative to it, sorted."""
    sources = sorted((PROTO / PACKAGE).glob("*.proto"))
    if not sources:
        sys.exit(f"no .proto files in {(PROTO / PACKAGE).relative_to(ROOT)}: nothing to generate")
    compiler = compiler_folder()
    plugins = Path(sysconfig.get_path("scripts"))
    output.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-c", RUN_COMPILER, str(compiler)),
        f"--proto_path={PROTO}",
        f"--proto_path={compiler / 'grpc_tools' / '_proto'}",
        f"--plugin=protoc-gen-mypy={plugins / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={plugins / 'protoc-gen-mypy_grpc'}",
        f"--python_out={output}",
        f"--grpc_python_out={output}",
        f"--mypy_out=quiet:{output}",
        f"--mypy_grpc_out=quiet,only_async:{output}",
        *(str(source) for source in sources),
    ]
    subprocess.run(command, check=True, env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"})
    for source in sources:
        # The compiler writes a service module for files without a service too; nobody should import those.
        if not DECLARES_SERVICE.search(source.read_text(encoding="utf-8")):
            for suffix in (".py", ".pyi"):
                (output / PACKAGE / f"{source.stem}_pb2_grpc{suffix}").unlink(missing_ok=True)
    (output / PACKAGE / "__init__.py").write_text(INIT, encoding="utf-8")
    return files_in(output)


def files_in(output: Path) -> list[Path]:
    """Return the generated files below `output`, relative to it, sorted."""
    folder = output / PACKAGE
    files = [*folder.glob("*_pb2*.py"), *folder.glob("*_pb2*.pyi"), *folder.glob("__init__.py")]
    return sorted(path.relative_to(output) for path in files)


def differences(fresh: Path, fresh_files: list[Path], committed: Path) -> list[str]:
    """Say for every generated file how the committed tree differs from the fresh one; empty when it does not."""
    stale = set(files_in(committed)) - set(fresh_files)
    found = [f"{path}: no .proto generates it any more" for path in stale]
    for path in fresh_files:
        if not (committed / path).exists():
            found.append(f"{path}: missing")
        elif not filecmp.cmp(fresh / path, committed / path, shallow=False):
            found.append(f"{path}: differs")
    return sorted(found)


def install(fresh: Path, fresh_files: list[Path], committed: Path) -> int:
    """Bring the committed tree to the fresh one, touching only what differs; return the number of files touched."""
    touched = 0
    for path in sorted(set(files_in(committed)) - set(fresh_files)):
        (committed / path).unlink()
        touched += 1
    for path in fresh_files:
        target = committed / path
        if not target.exists() or not filecmp.cmp(fresh / path, target, shallow=False):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((fresh / path).read_bytes())
            touched += 1
    return touched


def main() -> int:
    """Generate, or with `--check` compare; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail when the committed code is stale")
    check: bool = parser.parse_args().check
    with tempfile.TemporaryDirectory() as temporary:
        fresh = Path(temporary)
        fresh_files = generate(fresh)
        if not check:
            touched = install(fresh, fresh_files, OUTPUT)
            print(f"generated {len(fresh_files)} files from {PROTO.name}/, {touched} changed")
            return 0
        found = differences(fresh, fresh_files, OUTPUT)
    for line in found:
        print(line)
    print(f"generated code: {'run `make generate` and commit' if found else 'current'}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
