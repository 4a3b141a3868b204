"""`holdfast run watch`: the steps of a run as they happen."""

from holdfast.cli.context import Cli
from holdfast.cli.declaring import command
from holdfast.cli.options import Run
from holdfast.cli.run import app


@command(app, "watch")
async def watch(cli: Cli, run: Run) -> int:
    """Watch a run until its end: its steps, attempts, and what each waits for. Ctrl-C stops watching, not the run."""
    from holdfast.cli.run.watching import watch_run

    async with cli.client() as client:
        return await watch_run(cli, client, run)
