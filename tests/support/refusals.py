"""Expect an error that says what and where."""

from __future__ import annotations

import re

import pytest


def refused(
    error: type[Exception], path: object, *words: object
) -> pytest.RaisesExc[Exception]:
    """Expect an error that names the path and then says all the words."""
    return pytest.raises(
        error, match=".*".join(re.escape(str(w)) for w in (path, *words))
    )
