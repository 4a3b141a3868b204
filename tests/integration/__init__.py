"""Tests with a real server, real workers and a real database, each in a process of its own."""
