"""Timers: one heap for everything a run waits for by time."""
