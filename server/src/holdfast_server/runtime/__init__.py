"""Runs in memory, one at a time per run: asks the engine, hands events to the journal, performs effects after commits."""
