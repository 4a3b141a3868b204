"""A worker from the name of a module: what `holdfast worker MODULE` does."""

import asyncio
import importlib
import importlib.util
import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from holdfast.builder import Workflow
from holdfast.client import DEFAULT_TARGET, Client
from holdfast.errors import HoldfastError, ModuleError, WorkerError
from holdfast.handlers import Handler
from holdfast.worker.worker import Worker

__all__ = ["handlers_of", "load_module", "run_module", "serve_modules", "workflows_of"]

_log = logging.getLogger("holdfast.worker")


def run_module(
    modules: str | Iterable[str],
    *,
    target: str = DEFAULT_TARGET,
    namespace: str = "default",
    actor: str | None = None,
    register: bool = False,
    **options: Any,
) -> None:
    """Serve the handlers of modules until SIGTERM or SIGINT, in an event loop of its own.

    Args:
        modules: Modules by name (`package.module`) or file (`folder/file.py`).
        target: Address of the server.
        namespace: Namespace to work in.
        actor: Who acts; None for the user of the operating system.
        register: Register the workflows that the modules build, before serving.
        options: What `Worker` takes besides: `queue`, `slots`, `worker_id`, `build_id`, `grace_s`.

    Raises:
        WorkerError: A module cannot be found or has no handlers, or an option is out of range.
        ModuleError: Importing a module raised.
        ServerError: The server refuses this worker or a workflow for good.
    """

    async def main() -> None:
        async with Client(target, namespace=namespace, actor=actor) as client:
            await serve_modules(client, modules, register=register, **options)

    asyncio.run(main())


async def serve_modules(
    client: Client, modules: str | Iterable[str], *, register: bool = False, **options: Any
) -> None:
    """Serve the handlers of modules until SIGTERM or SIGINT; the arguments are those of `run_module`."""
    loaded = [load_module(name) for name in ([modules] if isinstance(modules, str) else modules)]
    handlers = list(dict.fromkeys(handler for module in loaded for handler in handlers_of(module)))
    if not handlers:
        names = ", ".join(module.__name__ for module in loaded)
        raise WorkerError(f"no handlers in {names or 'no module'}; put @handler before a function")
    worker = Worker(client, handlers, **options)
    if register:
        for workflow in dict.fromkeys(workflow for module in loaded for workflow in workflows_of(module)):
            version = (await client.register(workflow)).workflow
            _log.info("workflow %s is version %d", version.name, version.version)
    await worker.run()


def load_module(name: str) -> ModuleType:
    """Import a module by its name or its file; the current folder is searched first.

    Raises:
        WorkerError: There is no such module or file.
        HandlerError: A handler in it is none.
        ModuleError: Importing it raised something else.
    """
    try:
        path = Path(name)
        return _load_file(path) if path.suffix == ".py" else _load_name(name)
    except HoldfastError:
        raise
    except Exception as fault:
        raise ModuleError(f"{name} cannot be imported: {type(fault).__name__}: {fault}") from fault


def handlers_of(module: ModuleType) -> list[Handler[..., Any]]:
    """Return the handlers a module defines or imports, each once, in order."""
    return list(dict.fromkeys(value for value in vars(module).values() if isinstance(value, Handler)))


def workflows_of(module: ModuleType) -> list[Workflow]:
    """Return the workflows a module builds or imports, each once, in order."""
    return list(dict.fromkeys(value for value in vars(module).values() if isinstance(value, Workflow)))


def _load_name(name: str) -> ModuleType:
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as fault:
        if fault.name is None or not (name == fault.name or name.startswith(f"{fault.name}.")):
            raise  # the module is there, and misses another
        raise WorkerError(
            f"no module {name!r} in {folder} or among what is installed; "
            "give its dotted name, or the path of its .py file"
        ) from fault


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise WorkerError(f"no file {path}")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # so that it finds its neighbours, as a program would
    name = path.stem if path.stem not in sys.modules else f"holdfast_module_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise WorkerError(f"{path} is not a file Python can import")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where types look for the names in their annotations
    spec.loader.exec_module(module)
    return module
