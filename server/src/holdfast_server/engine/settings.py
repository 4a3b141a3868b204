"""The limits and intervals the engine decides by. Defaults: the table of limits in `docs/semantics.md`."""

from dataclasses import dataclass

__all__ = ["EngineSettings"]

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Rules that are the server's, not the workflow's."""

    cancel_grace_us: int = 30_000_000
    """Time a cancelled attempt has to end by itself."""
    inline_bytes: int = 8 * 1024
    """Payloads above this are stored once and referred to."""
    payload_bytes: int = 4 * MIB
    """Largest payload."""
    unconsumed_signals: int = 1_000
    """Signals a run may hold that nothing has taken."""
    gate_body_bytes: int = 256 * 1024
    """Largest rendered body of a gate."""
    history_bytes: int = 1024 * MIB
    """Size of a run's history above which it takes on nothing new: no signals, no pauses, no more attempts."""
