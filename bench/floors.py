"""The floors: what the figures must reach on a machine with two cores. They are written here and nowhere else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Floor:
    """What one figure must reach.

    Attributes:
        workload: The workload.
        figure: Name of its figure.
        limit: The worst value that is good enough.
        at_least: Whether more is better; else less is.
        label: The figure with its unit, for people.
    """

    workload: str
    figure: str
    limit: float
    at_least: bool
    label: str

    def met_by(self, value: float | None) -> bool:
        """Return whether a value is good enough; one that could not be measured is not."""
        if value is None:
            return False
        return value >= self.limit if self.at_least else value <= self.limit

    @property
    def text(self) -> str:
        """The floor for people, for example `p50, ms ≤ 10`."""
        return f"{self.label} {'≥' if self.at_least else '≤'} {self.limit:,g}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A floor and what was measured.

    Attributes:
        floor: The floor.
        value: The figure; None if it could not be measured.
    """

    floor: Floor
    value: float | None

    @property
    def met(self) -> bool:
        """Whether the floor is reached."""
        return self.floor.met_by(self.value)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        bound = "at_least" if self.floor.at_least else "at_most"
        return {"figure": self.floor.figure, bound: self.floor.limit, "met": self.met}


def _at_least(workload: str, figure: str, limit: float, label: str) -> Floor:
    return Floor(workload, figure, limit, at_least=True, label=label)


def _at_most(workload: str, figure: str, limit: float, label: str) -> Floor:
    return Floor(workload, figure, limit, at_least=False, label=label)


_BOTH = (
    _at_most("W3", "seconds", 0.4, "seconds"),
    _at_least("W4", "starts_per_s", 3_000, "starts/s"),
    _at_most("W4", "seconds", 6, "seconds"),
    _at_most("W4", "peak_mb", 200, "peak RSS, MB"),
    _at_most("W5", "p50_ms", 5, "p50, ms"),
    _at_most("W6", "seconds", 1.5, "seconds"),
    _at_most("W6", "decile_ratio", 1.1, "last/first tenth"),
    _at_most("W6", "bytes_per_step", 450, "bytes/step"),
)
FLOORS: Mapping[str, Sequence[Floor]] = {
    # Quick runs where others work too, and its slices are short.
    "quick": (
        _at_least("W1", "steps_per_s", 6_000, "steps/s"),
        _at_most("W2", "p50_ms", 10, "p50, ms"),
        *_BOTH,
    ),
    "full": (
        _at_least("W1", "steps_per_s", 10_000, "steps/s"),
        _at_most("W2", "p50_ms", 7, "p50, ms"),
        *_BOTH,
        _at_most("W7", "restart_s", 3, "restart, s"),
        _at_most("W7", "peak_mb", 300, "peak RSS, MB"),
        _at_most("W7", "p50_ms", 10, "p50, ms"),
    ),
}
"""By plan."""


def verdicts(plan: str, workload: str, figures: Mapping[str, Any]) -> list[Verdict]:
    """Return what the figures of a workload are worth."""
    return [Verdict(floor, figures[floor.figure]) for floor in FLOORS[plan] if floor.workload == workload]
