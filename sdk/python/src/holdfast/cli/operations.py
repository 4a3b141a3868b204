"""`holdfast queue` and `holdfast info`: where tasks wait, and what server answers."""

import typer

from holdfast.cli.context import Cli
from holdfast.cli.declaring import command, group

__all__ = ["add_info", "app"]

app = group("queue", "Show where tasks wait.")


@command(app, "list")
async def list_queues(cli: Cli) -> None:
    """List the queues that have tasks or workers, and which handlers nobody serves."""
    from holdfast.cli.render.operations import queue_list

    async with cli.client() as client:
        found = [queue async for queue in client.operations.queues()]
    cli.result(lambda: found, lambda: queue_list(found, cli.moments) if found else None)
    if not found:
        cli.empty("no queue has tasks or workers", "holdfast worker MODULE")


def add_info(root: typer.Typer) -> None:
    """Add the command `info`."""

    @command(root, "info")
    async def info(cli: Cli) -> None:
        """Show what server answers: its health, version, store and limits."""
        from holdfast.cli.render.operations import server_page

        async with cli.client() as client:
            answer = await client.operations.server_info()
        cli.result(lambda: answer, lambda: server_page(answer, cli.settings.target, cli.moments))
