"""Settings of the server that hang on each other."""

import pytest
from pydantic import ValidationError

from holdfast_server.config import ServerConfig


@pytest.mark.parametrize(
    ("given", "interval_s"),
    [({}, 10.0), ({"lease_s": 1.5}, 0.5), ({"heartbeat_s": 0.1}, 0.1), ({"lease_s": 60.0, "heartbeat_s": 20.0}, 20.0)],
)
def test_heartbeats_come_as_often_as_is_said_and_often_enough_for_the_lease(
    given: dict[str, float], interval_s: float
) -> None:
    assert ServerConfig.load(None, **given).heartbeat_interval_s == interval_s


@pytest.mark.parametrize("given", [{"heartbeat_s": 10.1}, {"lease_s": 3.0, "heartbeat_s": 2.0}, {"heartbeat_s": 0.05}])
def test_heartbeats_that_cannot_keep_a_lease_are_refused(given: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="heartbeat_s"):
        ServerConfig.load(None, **given)


def test_a_message_has_to_hold_a_payload() -> None:
    assert ServerConfig(payload_bytes=1024 * 1024, message_bytes=1024 * 1024 + 64 * 1024).message_bytes
    with pytest.raises(ValidationError, match="1114111 is less than payload_bytes, which is 1048576"):
        ServerConfig(payload_bytes=1024 * 1024, message_bytes=1024 * 1024 + 64 * 1024 - 1)
