"""Say from a sample of what is asked for how else a cache might be set up."""

from __future__ import annotations

from hypercache.advice.advising import Present, advise
from hypercache.advice.answer import Advice, Estimate
from hypercache.advice.sample import ReferenceSample, Source
from hypercache.advice.window import Totals

__all__ = [
    "Advice",
    "Estimate",
    "Present",
    "ReferenceSample",
    "Source",
    "Totals",
    "advise",
]
