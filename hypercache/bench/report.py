"""A run as text: the ratios first, then every figure, unlike settings apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hypercache.bench.results import Results
from hypercache.bench.stores import Durability
from hypercache.bench.subjects import BY_NAME
from hypercache.bench.targets import ROWS, Verdict, judge


def lines(results: Results) -> Iterator[str]:
    """Yield the whole report."""
    yield from facts(results)
    yield ""
    yield from targets(results)
    yield from tables(results)


def facts(results: Results) -> Iterator[str]:
    """Yield what the run was made on, and what was left out."""
    versions = results.facts["versions"].items()
    for name, value in results.facts.items():
        if name != "versions":
            yield f"{name:14} {value}"
    yield f"{'peers':14} " + ", ".join(
        f"{name} {version}" for name, version in versions
    )
    for name, reason in results.skipped.items():
        yield f"{'skipped':14} {name}: {reason}"
    for failure in results.failures:
        yield f"{'FAILED':14} {failure}"


def targets(results: Results) -> Iterator[str]:
    """Yield the table of the targets, each with its ratio and verdict."""
    if results.facts["plan"] != "full":
        yield "The sizes of this run are not those that the targets are for."
    verdicts = [judge(row, results) for row in ROWS]
    cells = [_cells(verdict) for verdict in verdicts]
    yield from _aligned([("work", "against", "ratio", "spread", "target", ""), *cells])
    lost = sum(verdict.word == "lost" for verdict in verdicts)
    missing = sum(verdict.value is None for verdict in verdicts)
    yield f"{len(verdicts) - lost - missing} won, {lost} lost, {missing} not measured"


def _cells(verdict: Verdict) -> tuple[str, ...]:
    row = verdict.row
    bound = f"at most {row.at_most:g}" if row.at_most is not None else ""
    if row.at_least is not None:
        bound = f"{row.at_least:g}" + (f", aim {row.aim:g}" if row.aim else "")
    if verdict.value is None or verdict.spread is None:
        return row.work, row.against, "-", "", bound, verdict.word
    low, high = (figure(each) for each in verdict.spread)
    value = f"{figure(verdict.value)} {row.unit}"
    return row.work, row.against, value, f"{low} to {high}", bound, verdict.word


def tables(results: Results) -> Iterator[str]:
    """Yield each measure's medians, the settings that promise the same together."""
    for measure, unit in results.measures().items():
        found = results.subjects(measure)
        for durability in (*Durability, None):
            names = [name for name in found if durability_of(name) is durability]
            if names:
                yield ""
                promise = f"; a write is {durability.value}" if durability else ""
                yield f"{measure} ({unit}){promise}"
                cells = [_figures(results, measure, name) for name in names]
                yield from _aligned(cells)


def _figures(results: Results, measure: str, name: str) -> tuple[str, ...]:
    values = list(results.values(measure, name).values())
    median = results.median(measure, name)
    assert median is not None
    spread = f"{figure(min(values))} to {figure(max(values))}"
    return f"  {name}", figure(median), spread, setting_of(name)


def durability_of(name: str) -> Durability | None:
    """Return what a subject promises, None for what is none."""
    return BY_NAME[name].durability if name in BY_NAME else None


def setting_of(name: str) -> str:
    """Return how a subject was set up."""
    return BY_NAME[name].setting if name in BY_NAME else ""


def figure(value: float) -> str:
    """Return a number with three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _aligned(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()
