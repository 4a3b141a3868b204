"""Queues, workers and leases: which worker gets which task, and what becomes of tasks whose workers fall silent."""
