"""The table of settings in docs/operations.md is the list of settings, with their defaults."""

import re
from pathlib import Path

import pytest

from holdfast_server.config import ServerConfig
from holdfast_server.engine.compile import EDGES_MAX, STEPS_MAX
from holdfast_server.engine.evolve import REMEMBERED_REQUESTS
from holdfast_server.engine.settings import EngineSettings
from holdfast_server.matching.settings import MatchingSettings
from holdfast_server.rpc.validation import Limits

GUIDE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
KIB = 1024
MIB = 1024 * KIB


def _section(heading: str) -> str:
    return GUIDE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_every_setting_is_listed_with_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ServerConfig.model_fields:
        monkeypatch.delenv(f"HOLDFAST_{name.upper()}", raising=False)
    listed = dict(re.findall(r"^\| `(\w+)` \| `([^`]*)` \| .+ \|$", _section("Settings"), re.MULTILINE))
    defaults = {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in ServerConfig().model_dump().items()
    }

    assert listed == defaults


def test_limits_are_those_in_force() -> None:
    limits, engine, matching = Limits(), EngineSettings(), MatchingSettings()
    rows = dict(re.findall(r"^\| (?!limit)([^|`-][^|]*?) \| (.*?) \|$", _section("Limits"), re.MULTILINE))
    message_bytes = ServerConfig().message_bytes
    facts = {
        "payload, message": f"settings, {engine.payload_bytes // MIB} MiB and {message_bytes // MIB} MiB",
        "steps of a definition, edges of a step": f"{STEPS_MAX:,} and {EDGES_MAX}",
        "text of a definition": f"{limits.source_bytes // MIB} MiB",
        "body of a gate, rendered": f"{engine.gate_body_bytes // KIB} KiB",
        "starts, signals or results in one message": f"{limits.batch_items:,}",
        "signals along with a start": f"{limits.start_signals}",
        "signals a run holds that nothing has taken": f"{engine.unconsumed_signals:,}",
        "changes of a run whose request ids are remembered": f"{REMEMBERED_REQUESTS:,}",
        "attributes of a run": f"{limits.attributes}, of {limits.attribute_bytes // KIB} KiB each",
        "tasks in one answer to a worker": f"{matching.answer_tasks}, and {matching.answer_bytes // MIB} MiB",
    }

    assert rows.pop("expression").startswith(f"{limits.expression_bytes // KIB} KiB")
    assert rows == facts
