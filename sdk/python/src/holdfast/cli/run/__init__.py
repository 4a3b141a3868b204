"""`holdfast run`: start runs, see them, act on them."""

from holdfast.cli.declaring import group

__all__ = ["app"]

app = group("run", "Start runs, see how they are, and act on them.")

# Each file adds its commands to the group; the order here is that of the help.
from holdfast.cli.run import start, show, watch, change  # noqa: E402, F401, I001
