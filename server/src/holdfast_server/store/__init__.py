"""Where runs are kept: a port, and an adapter for each database."""
