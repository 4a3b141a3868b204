"""The research report as a demonstration: `make demo`, or `python -m examples.research_report.demo`."""
