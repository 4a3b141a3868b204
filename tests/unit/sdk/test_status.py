"""Which failed calls are worth another try."""

import grpc
import pytest
from grpc import aio

from holdfast.client.status import DETAILS_KEY, is_transient, lost_the_server


def _fault(code: grpc.StatusCode, *, of_ours: bool) -> aio.AioRpcError:
    metadata = aio.Metadata((DETAILS_KEY, b"")) if of_ours else aio.Metadata()
    return aio.AioRpcError(code, aio.Metadata(), metadata, "")


@pytest.mark.parametrize("of_ours", [True, False])
def test_a_status_is_ours_if_it_has_details(of_ours: bool) -> None:
    assert lost_the_server(_fault(grpc.StatusCode.INTERNAL, of_ours=of_ours)) is not of_ours


@pytest.mark.parametrize(
    ("code", "of_ours", "transient"),
    [
        (grpc.StatusCode.UNAVAILABLE, True, True),
        (grpc.StatusCode.UNAVAILABLE, False, True),
        (grpc.StatusCode.CANCELLED, False, True),
        (grpc.StatusCode.INTERNAL, True, False),
        (grpc.StatusCode.INTERNAL, False, True),
        (grpc.StatusCode.INVALID_ARGUMENT, False, False),
        (grpc.StatusCode.UNKNOWN, False, False),
    ],
)
def test_what_broke_on_the_way_is_tried_again(code: grpc.StatusCode, of_ours: bool, transient: bool) -> None:
    assert is_transient(_fault(code, of_ours=of_ours)) is transient
