"""A helper process that never ends by itself: `python -m tests.support.busy_helper`."""

from __future__ import annotations

from hypercache.engines import helper


def main() -> None:
    helper.end_with_parent()
    while True:
        pass


if __name__ == "__main__":
    main()
