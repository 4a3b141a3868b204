"""Runs in memory: asks the engine, hands events to the journal, performs effects after commits."""
