"""Reading a folder: passages, sentences and the lines they stand on."""

from pathlib import Path

import pytest

from examples.research_report.documents import DOCUMENTS_MAX, CorpusError, read_documents, split_sentences
from examples.research_report.markup import blocks_of_markdown, row_text, without_marks
from examples.research_report.models import Corpus
from tests.unit.examples.corpus import orchard


def _sentences(corpus: Corpus) -> dict[str, tuple[str, str]]:
    return {
        sentence.text: (f"{block.path}:{sentence.line}-{sentence.line_end}", block.heading)
        for block in read_documents(corpus).blocks
        for sentence in block.sentences
    }


def test_sentences_know_file_lines_and_heading(tmp_path: Path) -> None:
    found = _sentences(orchard(tmp_path))

    assert found["Apples are picked in September."] == ("orchard.md:6-6", "The orchard")
    assert found["The harvest of 2023 brought 4,200 kg, which is 12 % less than in 2022, e.g. because of hail."] == (
        "orchard.md:6-7",
        "The orchard",
    )
    assert found["Pickers work for 6 hours a day."] == ("orchard.md:7-7", "The orchard")
    assert found["Apples keep for 8 weeks at 3 degrees; `cold store 2` holds 15,000 kg."] == (
        "orchard.md:11-11",
        "The orchard > Storage",
    )


def test_table_rows_carry_the_names_of_their_columns(tmp_path: Path) -> None:
    found = _sentences(orchard(tmp_path))

    assert found["Boskoop; ripe: 2024-10-01; keeps: 20 weeks"][0] == "orchard.md:20-20"
    assert row_text(["sort", "ripe", "keeps"], ["Elstar", "September", ""]) == "Elstar; ripe: September"
    assert row_text([], ["only", "cells"]) == "only; cells"


def test_restructured_and_plain_text_are_read_too(tmp_path: Path) -> None:
    found = _sentences(orchard(tmp_path))

    assert found["One press takes 300 litres per hour."] == ("notes/press.rst:4-4", "The press")
    assert found["The press is cleaned by hand:"] == ("notes/press.rst:13-13", "The press > Cleaning")
    assert found["Rinse the cloths of the press."] == ("notes/press.rst:17-17", "The press > Cleaning")
    assert found["Please pick them before the frost comes."] == ("notes/letter.txt:3-4", "")


def test_code_directives_front_matter_hidden_and_foreign_files_are_left_out(tmp_path: Path) -> None:
    text = " ".join(_sentences(orchard(tmp_path)))

    for left_out in ("code is not quoted", "directive", "literal block", "draft: true", "nobody may quote"):
        assert left_out not in text
    assert read_documents(Corpus(folder=str(tmp_path))).paths == ["notes/letter.txt", "notes/press.rst", "orchard.md"]


def test_include_chooses_files(tmp_path: Path) -> None:
    orchard(tmp_path)

    assert read_documents(Corpus(folder=str(tmp_path), include=["notes/**/*", "*.md"])).paths == [
        "notes/letter.txt",
        "notes/press.rst",
        "orchard.md",
    ]
    assert read_documents(Corpus(folder=str(tmp_path), include=["*.md"])).paths == ["orchard.md"]


def test_a_folder_that_cannot_be_read_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"folder: .*missing.* is not a folder; name one"):
        read_documents(Corpus(folder=str(tmp_path / "missing")))
    with pytest.raises(CorpusError, match="include: no text"):
        read_documents(Corpus(folder=str(tmp_path)))


def test_too_many_documents_are_refused(tmp_path: Path) -> None:
    for number in range(DOCUMENTS_MAX + 1):
        (tmp_path / f"{number}.txt").touch()

    with pytest.raises(CorpusError, match=f"{DOCUMENTS_MAX + 1} documents are more than {DOCUMENTS_MAX}"):
        read_documents(Corpus(folder=str(tmp_path)))


@pytest.mark.parametrize(
    ("marked", "clean"),
    [
        ("**bold** and *soft* and _soft_", "bold and soft and soft"),
        ("[text](https://example.org/a_b_c) and ![picture](x.png)", "text and"),
        ("`**code** [stays](as it is)`", "`**code** [stays](as it is)`"),
        ("snake_case_name and 2 * 3 * 4", "snake_case_name and 2 * 3 * 4"),
        (r"an escaped \* star", "an escaped * star"),
        ("two  spaces\tand a tab", "two spaces and a tab"),
    ],
)
def test_marks_are_taken_off(marked: str, clean: str) -> None:
    assert without_marks(marked) == clean


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One ends here. Another begins.", ["One ends here.", "Another begins."]),
        ("It weighs approx. 5 kg. Really?", ["It weighs approx. 5 kg.", "Really?"]),
        ("Version 3.11 works. `kill -9` does too.", ["Version 3.11 works.", "`kill -9` does too."]),
        ("A stop in `code. Here` is none.", ["A stop in `code. Here` is none."]),
        ('He said "no." Then he left.', ['He said "no."', "Then he left."]),
        ("no capital. follows here", ["no capital. follows here"]),
    ],
)
def test_sentences_are_split_where_they_end(text: str, sentences: list[str]) -> None:
    assert [sentence.text for sentence in split_sentences([(1, text)])] == sentences


def test_a_closing_fence_must_fit_its_opening() -> None:
    text = "````\nhidden text one two\n```\nhidden text three four\n````\n\nshown text five six\n"

    assert [lines for _, lines in blocks_of_markdown(text)] == [[(7, "shown text five six")]]
