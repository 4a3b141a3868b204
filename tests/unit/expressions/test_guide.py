"""The examples of docs/expressions.md give what they say."""

import json
import re
from pathlib import Path

import pytest

from holdfast_server.engine.expressions import compile_template
from tests.unit.expressions.fake import FakeNames

GUIDE = (Path(__file__).parents[3] / "docs" / "expressions.md").read_text(encoding="utf-8")
EXAMPLES = GUIDE.partition("## Examples")[2].partition("\n## ")[0]
ROWS = re.findall(r"^\| `(.*)` \| `(.*)` \|$", EXAMPLES, re.MULTILINE)


def test_there_are_examples() -> None:
    assert len(ROWS) > 15


@pytest.mark.parametrize(("template", "gives"), ROWS)
def test_example(template: str, gives: str) -> None:
    given = re.search(r"With the input `(.*?)` and", EXAMPLES)
    assert given is not None
    names = FakeNames({"input": json.loads(given[1]), "steps": {"draft": {"output": None, "state": "SKIPPED"}}})

    value = compile_template(template).value(names)

    assert value == json.loads(gives)
    assert json.dumps(value) == json.dumps(json.loads(gives))
