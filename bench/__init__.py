"""Measures Holdfast on this machine: `python -m bench quick`; see `bench/README.md`."""
