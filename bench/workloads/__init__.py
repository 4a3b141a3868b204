"""The workloads: what the load process does, one module each."""
