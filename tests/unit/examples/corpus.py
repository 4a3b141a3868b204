"""Documents that the tests of the research report read, written to real files."""

from pathlib import Path

from examples.research_report.models import Corpus

ORCHARD = """\
---
draft: true
---
# The orchard

Apples are picked in September. The harvest of 2023 brought 4,200 kg, which is
12 % less than in 2022, e.g. because of hail. Pickers work for 6 hours a day.

## Storage

- Apples keep for **8 weeks** at 3 degrees; `cold store 2` holds 15,000 kg.
- It is not yet known whether pears keep as long.

```python
apples = 12_345  # code is not quoted
```

| sort | ripe | keeps |
|---|---|---|
| Boskoop | 2024-10-01 | 20 weeks |
| Elstar | September | |
"""

PRESS = """\
The press
=========

Apples are pressed in the old barn. One press takes 300 litres per hour.

Cleaning
--------

.. note::

   Apples in a directive are left out.

The press is cleaned by hand::

    apples in a literal block

1. Rinse the cloths of the press.
2. Is hot water enough for the cloths of the press?
"""

LETTER = """\
Dear neighbour,

the apples beside the fence are yours. Please pick them before the
frost comes.
"""


def orchard(folder: Path) -> Corpus:
    """Write the documents and return the corpus."""
    (folder / "notes").mkdir(parents=True)
    (folder / "orchard.md").write_text(ORCHARD, encoding="utf-8")
    (folder / "notes" / "press.rst").write_text(PRESS, encoding="utf-8")
    (folder / "notes" / "letter.txt").write_text(LETTER, encoding="utf-8")
    (folder / "notes" / "data.csv").write_text("apples,1\n", encoding="utf-8")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "secret.md").write_text("Apples that nobody may quote are here.\n", encoding="utf-8")
    return Corpus(folder=str(folder))
