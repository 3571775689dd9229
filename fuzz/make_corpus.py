"""Write the seeds of all targets into fuzz/corpus: `python -m fuzz.make_corpus`.

The same seeds every time; what is there and no seed is removed.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from fuzz import TARGETS

CORPUS = Path(__file__).parent / "corpus"


def seeds_of(target: str) -> dict[str, bytes]:
    """Return the seeds of a target by name."""
    seeds: dict[str, bytes] = importlib.import_module(f"fuzz.{target}").seeds()
    return seeds


def main() -> None:
    """Bring the corpus up to date."""
    for target in TARGETS:
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        seeds = seeds_of(target)
        for file in folder.iterdir():
            if file.name not in seeds:
                file.unlink()
        for name, data in seeds.items():
            (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
