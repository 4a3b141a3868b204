"""The terminal screens, driven by keys: against a server in memory, and once against a real one."""
