"""Breaks a server, its workers, its clients and the network between them, and holds what they were told to the truth.

`python -m tests.chaos` runs it; `docs/reliability.md` says what is promised and what came out.
"""
