"""The whole server in one thread, with simulated disk, clock, network, workers and people: all of it from a seed."""
