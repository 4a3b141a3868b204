"""The states of the connection, as a table of what was heard and what is said."""

from holdfast_tui.store.link import STALE_AFTER_S, Link, LinkState


def live(at_s: float = 0.0) -> Link:
    link = Link("host:1")
    link.stream_heard("runs", at_s, live=True)
    link.stream_heard("gates", at_s, live=True)
    return link


def test_it_begins_with_connecting_and_an_answer_alone_is_not_live() -> None:
    link = Link("host:1")
    assert link.view(0).state is LinkState.CONNECTING
    link.heard(1)
    assert link.view(1).state is LinkState.CONNECTING
    link.stream_heard("runs", 1, live=True)
    assert link.view(1).state is LinkState.CONNECTING
    link.stream_heard("gates", 1, live=False)
    assert link.view(1).state is LinkState.CONNECTING
    link.stream_heard("gates", 1, live=True)
    assert link.view(1) == type(link.view(1))(LinkState.LIVE, "LIVE", "")


def test_silence_is_stale_after_its_time_and_any_word_ends_it() -> None:
    link = live(0)
    assert link.view(STALE_AFTER_S).state is LinkState.LIVE
    assert link.view(STALE_AFTER_S + 1).label == "STALE 7s"
    link.heard(STALE_AFTER_S + 1)
    assert link.view(STALE_AFTER_S + 1).state is LinkState.LIVE


def test_a_loss_counts_from_its_beginning_and_ends_with_both_streams() -> None:
    link = live(0)
    link.lost("Connection refused", 10)
    link.lost("Connection refused", 14)
    assert link.view(15).label == "RECONNECTING 5s"
    assert link.view(15).sentence == "No server answers (connection refused). What is shown is 15s old; trying again."
    link.heard(16)
    link.stream_heard("runs", 16, live=True)
    assert link.view(16).state is LinkState.RECONNECTING
    assert link.is_lost
    link.stream_heard("gates", 16, live=True)
    assert link.view(16).state is LinkState.LIVE
    assert not link.is_lost


def test_what_is_refused_stays_until_the_stream_speaks() -> None:
    link = live(0)
    link.refused("gates", "no (NOT_PERMITTED)")
    assert link.view(0).sentence == "host:1 refuses: no (NOT_PERMITTED)"
    link.stream_heard("gates", 1, live=True)
    assert link.view(1).state is LinkState.LIVE


def test_one_stream_does_not_speak_for_the_refused_other() -> None:
    link = live(0)
    link.refused("gates", "no")
    link.stream_heard("runs", 1, live=True)
    assert link.view(1).state is LinkState.REFUSED


def test_the_health_of_the_server_is_told_while_it_is_live() -> None:
    link = live(0)
    link.health("The server is READ_ONLY.")
    assert link.view(0).sentence == "The server is READ_ONLY."
    link.health("")
    assert link.view(0).sentence == ""


def test_only_the_end_of_what_the_transport_says_is_told() -> None:
    link = live(0)
    link.lost("failed: ipv4:1.2.3.4:5: certificate has expired", 1)
    assert "(certificate has expired)" in link.view(1).sentence
