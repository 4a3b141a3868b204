"""Fuzzing: hostile requests to a real server, and hostile bytes to everything that reads any."""
