"""The names of an imaginary run, held as plain JSON."""

import orjson

from holdfast.v1.payload_pb2 import Payload
from holdfast_server.engine.expressions import NOT_A_PAYLOAD, NotAPayload, Ref

RUN: dict[str, object] = {
    "input": {
        "one": 1,
        "half": 0.5,
        "word": "a",
        "nothing": None,
        "empty": "",
        "yes": True,
        "list": [1, None, 2.5],
        "deep": {"er": {"est": 7}},
        "odd key": 3,
        "items": [{"n": n} for n in range(20)],
    },
    "steps": {
        "plan": {"output": {"ok": True, "score": 0.5, "queries": ["x", "y"]}, "state": "SUCCEEDED", "attempts": 1},
        "skipped": {"output": None, "state": "SKIPPED", "failure": None},
    },
    "signals": {"go": [{"by": "ann"}]},
    "run": {"id": "r-1", "attributes": {"team": "blue"}},
}


class FakeNames:
    """Looks names up in nested dicts and counts how often."""

    def __init__(self, values: dict[str, object] | None = None, payloads: dict[Ref, Payload] | None = None) -> None:
        self.values = RUN if values is None else values
        self.payloads = payloads or {}
        self.looked_up: list[Ref] = []

    def lookup(self, ref: Ref) -> object:
        self.looked_up.append(ref)
        value: object = self.values
        for part in ref:
            if isinstance(value, dict):
                value = value.get(part)
            elif isinstance(value, list) and isinstance(part, int) and part < len(value):
                value = value[part]
            else:
                return None
        return value

    def payload(self, ref: Ref) -> Payload | NotAPayload | None:
        if ref in self.payloads:
            return self.payloads[ref]
        if ref in {("input",), ("steps", "plan", "output")}:
            return Payload(data=orjson.dumps(self.lookup(ref)))
        return None if ref == ("steps", "skipped", "output") else NOT_A_PAYLOAD
