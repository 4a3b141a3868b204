"""The engine: what happens to a run. Pure: no I/O, no clock, no randomness, no asyncio, no grpc.

`decide` turns a command into events, `evolve` folds events into state, `effects` says what must happen outside once the
events are on disk. The events are the public `holdfast.v1.HistoryEvent` messages.
"""
