"""Publishing: once, whole, and never over another report."""

import json
from pathlib import Path

import pytest

from examples.research_report.models import Draft, PublishRequest
from examples.research_report.publishing import publish, slug


def _request(out: Path, markdown: str = "# Why?\n") -> PublishRequest:
    draft = Draft(
        title='Why "so"?', markdown=markdown, citations=3, sources=["a.md:1"], writer="extractive", revision=1
    )
    return PublishRequest(draft=draft, out=str(out), approval={"decided_by": "mia", "comment": None})


def test_the_file_tells_where_it_comes_from(tmp_path: Path) -> None:
    published = publish(_request(tmp_path / "new" / "folder"), run_id="r1", idempotency_key="k1")
    text = Path(published.path).read_text(encoding="utf-8")
    _, front_matter, body = text.split("---\n", 2)
    fields = {
        name: json.loads(value) for name, _, value in (line.partition(": ") for line in front_matter.splitlines())
    }

    assert body == "\n# Why?\n"
    assert fields == {
        "title": 'Why "so"?',
        "written_by": "extractive",
        "revision": 1,
        "citations": 3,
        "approved_by": "mia",
        "run_id": "r1",
        "idempotency_key": "k1",
    }
    assert published.size_bytes == len(text.encode())
    assert not published.repeated


def test_a_repeated_attempt_writes_nothing(tmp_path: Path) -> None:
    first = publish(_request(tmp_path), run_id="r1", idempotency_key="k1")
    Path(first.path).write_text(Path(first.path).read_text(encoding="utf-8") + "A reader's note.\n", encoding="utf-8")
    second = publish(_request(tmp_path), run_id="r1", idempotency_key="k1")

    assert (second.path, second.repeated) == (first.path, True)
    assert "A reader's note." in Path(first.path).read_text(encoding="utf-8")


def test_another_run_with_the_same_title_gets_a_file_of_its_own(tmp_path: Path) -> None:
    first = publish(_request(tmp_path), run_id="r1", idempotency_key="k1")
    second = publish(_request(tmp_path), run_id="r2", idempotency_key="k2")

    assert first.path != second.path
    assert len(list(tmp_path.iterdir())) == 2


def test_what_a_killed_attempt_left_does_not_count(tmp_path: Path) -> None:
    target = Path(publish(_request(tmp_path), run_id="r1", idempotency_key="k1").path)
    whole = target.read_bytes()
    target.write_bytes(whole[:20])

    assert not publish(_request(tmp_path), run_id="r1", idempotency_key="k1").repeated
    assert target.read_bytes() == whole


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    target = Path(publish(_request(tmp_path), run_id="r1", idempotency_key="k1").path)
    target.unlink()
    target.mkdir()  # in the way

    with pytest.raises(OSError, match=target.name):
        publish(_request(tmp_path), run_id="r1", idempotency_key="k1")
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("title", "name"),
    [("Why so?", "why-so"), ("../../etc/passwd", "etc-passwd"), ("?!", "report"), ("x" * 99, "x" * 60)],
)
def test_titles_become_harmless_names(title: str, name: str) -> None:
    assert slug(title) == name
