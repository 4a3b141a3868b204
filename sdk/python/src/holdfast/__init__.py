"""Holdfast: the Python client, worker and workflow builder."""
