"""Options all tests share."""

import os

import pytest
from hypothesis import settings

# On a developer's machine random tests look elsewhere each time; what decides whether a change is merged is repeatable.
settings.register_profile("repeatable", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite-golden",
        action="store_true",
        help="write what golden scenarios print now into tests/golden; read the difference before you commit it",
    )
