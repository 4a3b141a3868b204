"""`holdfast gate`: see what waits for people, and decide."""

from holdfast.cli.declaring import group

__all__ = ["app"]

app = group("gate", "See what waits for people, and decide.")

# Each file adds its commands to the group; the order here is that of the help.
from holdfast.cli.gate import show, decide  # noqa: E402, F401, I001
