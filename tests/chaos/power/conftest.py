"""What all tests of failing disks share."""

from pathlib import Path

import pytest

from holdfast_server.store.sqlite import adapter, checkpoint

KIB = 1024


@pytest.fixture
def frequent_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the limits of a real database a load of some hundred KiB would see no checkpoint."""
    monkeypatch.setattr(checkpoint, "PASSIVE_ABOVE_BYTES", 128 * KIB)
    monkeypatch.setattr(checkpoint, "_LOOK_EVERY_BYTES", 32 * KIB)

    class Checkpointer(checkpoint.Checkpointer):
        def __init__(self, writer: object, beside: object, log: Path) -> None:
            super().__init__(writer, beside, log, log_bytes_max=256 * KIB)  # type: ignore[arg-type]

    monkeypatch.setattr(adapter, "Checkpointer", Checkpointer)
