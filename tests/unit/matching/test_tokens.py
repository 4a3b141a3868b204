"""Tokens: genuine ones are read, all others refused."""

import pytest

from holdfast_server.matching.tokens import HEAD, TokenContent, TokenInvalidError, Tokens

KEY = bytes(range(32))


def test_a_token_says_what_it_was_issued_for() -> None:
    seal = Tokens(KEY, 7).seal("default", "w1")

    token = seal.issue(2**62, "search[3]/fetch", 4, 2**61)

    assert seal.read(token) == TokenContent(2**62, 7, 2**61, 4, "search[3]/fetch")


def test_a_token_outlives_the_server_and_keeps_its_epoch() -> None:
    token = Tokens(KEY, 7).seal("default", "w1").issue(1, "a", 1, 1)

    assert Tokens(KEY, 8).seal("default", "w1").read(token).server_epoch == 7


@pytest.mark.parametrize(
    ("namespace", "worker"), [("default", "w2"), ("other", "w1"), ("defaul", "tw1"), ("defaultw", "1")]
)
def test_a_token_is_nobody_elses(namespace: str, worker: str) -> None:
    token = Tokens(KEY, 1).seal("default", "w1").issue(1, "a", 1, 1)

    with pytest.raises(TokenInvalidError):
        Tokens(KEY, 1).seal(namespace, worker).read(token)


def test_another_installation_does_not_know_it() -> None:
    token = Tokens(KEY, 1).seal("default", "w1").issue(1, "a", 1, 1)

    with pytest.raises(TokenInvalidError):
        Tokens(bytes(32), 1).seal("default", "w1").read(token)


def test_no_bit_can_be_changed() -> None:
    seal = Tokens(KEY, 1).seal("default", "w1")
    token = seal.issue(1, "ab", 1, 1)

    for position in range(len(token) * 8):
        forged = bytearray(token)
        forged[position // 8] ^= 1 << position % 8
        with pytest.raises(TokenInvalidError):
            seal.read(bytes(forged))


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, HEAD.size + 15])
def test_what_is_too_short_is_no_token(length: int) -> None:
    seal = Tokens(KEY, 1).seal("default", "w1")

    with pytest.raises(TokenInvalidError):
        seal.read(seal.issue(1, "a", 1, 1)[:length])


def test_the_longest_path_fits_the_limit_of_a_token() -> None:
    path = "/".join(["s" * 63 + "[99999]"] * 8)

    assert len(Tokens(KEY, 2**31).seal("default", "w1").issue(2**62, path, 2**31 - 1, 2**63 - 1)) <= 1024


@pytest.mark.parametrize("length", [0, 31, 65])
def test_a_key_has_a_sensible_length(length: int) -> None:
    with pytest.raises(ValueError, match=f"this one has {length}"):
        Tokens(bytes(length), 1)
