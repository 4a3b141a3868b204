"""Fuzzes one entry guided by coverage: `python -m tests.fuzz.covered ENTRY FOLDER -max_total_time=S …`.

FOLDER is filled with the seeds and then with what reaches further; the rest goes to libFuzzer. Needs atheris.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["holdfast_server", "holdfast"], enable_loader_override=False):
    from tests.fuzz.entries import ENTRIES
    from tests.fuzz.seeds import seeds

__all__: list[str] = []


def main() -> None:
    """Fuzzes until libFuzzer is through, which ends the process."""
    entry, folder, *options = sys.argv[1:]
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds(entry)):
        (place / f"seed-{number}").write_bytes(data)
    atheris.Setup(
        [sys.argv[0], str(place), "-max_len=20000", "-timeout=60", "-rss_limit_mb=4096", *options], ENTRIES[entry]
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
