"""Waits between tries that grow, are jittered, and stay short enough for a quick recovery."""

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Backoff", "BackoffPolicy"]


@dataclass(frozen=True, slots=True)
class BackoffPolicy:
    """How waits grow.

    Attributes:
        initial_s: First wait, in seconds.
        max_s: Longest wait, in seconds; short, so that a server that is back is found at once.
        factor: Growth from wait to wait.
    """

    initial_s: float = 0.05
    max_s: float = 2.0
    factor: float = 2.0


class Backoff:
    """One sequence of waits."""

    __slots__ = ("_base_s", "_policy", "_random")

    def __init__(self, policy: BackoffPolicy, random: Callable[[], float]) -> None:
        self._policy = policy
        self._random = random
        self._base_s = policy.initial_s

    def next_s(self) -> float:
        """Return the next wait in seconds: between half of it and all of it, so that clients do not march in step."""
        wait_s = self._base_s * (0.5 + 0.5 * self._random())
        self._base_s = min(self._base_s * self._policy.factor, self._policy.max_s)
        return wait_s

    def reset(self) -> None:
        """Begin anew after a success."""
        self._base_s = self._policy.initial_s
