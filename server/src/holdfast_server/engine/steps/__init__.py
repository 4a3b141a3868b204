"""One file per step kind: how it starts, and what it does with what happens to it."""
