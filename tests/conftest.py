"""Options all tests share."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite-golden",
        action="store_true",
        help="write what golden scenarios print now into tests/golden; read the difference before you commit it",
    )
