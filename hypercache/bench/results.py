"""What was measured: samples, medians and ratios, and the JSON that keeps them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypercache.errors import ConfigError

FORMAT = 1


@dataclass(frozen=True)
class Sample:
    """One figure of one subject in one round; less is better."""

    measure: str
    unit: str
    subject: str
    value: float
    round: int = 0


@dataclass
class Results:
    """All samples of a run and what they were taken on."""

    facts: dict[str, Any]
    skipped: dict[str, str]
    failures: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    def measures(self) -> dict[str, str]:
        """Return every measure with its unit, in the order of the run."""
        return {sample.measure: sample.unit for sample in self.samples}

    def subjects(self, measure: str) -> list[str]:
        """Return who was measured, in the order of the run."""
        found = (each.subject for each in self.samples if each.measure == measure)
        return list(dict.fromkeys(found))

    def values(self, measure: str, subject: str) -> dict[int, float]:
        """Return one value for each round."""
        return {
            sample.round: sample.value
            for sample in self.samples
            if (sample.measure, sample.subject) == (measure, subject)
        }

    def median(self, measure: str, subject: str) -> float | None:
        """Return the median of the rounds, None if there is none."""
        found = self.values(measure, subject)
        return statistics.median(found.values()) if found else None

    def ratios(self, upper: tuple[str, str], lower: tuple[str, str]) -> list[float]:
        """Return one measure and subject over another, a quotient for each round."""
        above, below = self.values(*upper), self.values(*lower)
        return [above[n] / below[n] for n in sorted(above.keys() & below.keys())]

    def save(self, path: Path) -> None:
        """Write them as JSON."""
        document = {
            "format": FORMAT,
            "facts": self.facts,
            "skipped": self.skipped,
            "failures": self.failures,
            "measures": _as_tree(self.samples),
        }
        path.write_text(json.dumps(document, indent=1) + "\n")


def _as_tree(samples: Iterable[Sample]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for each in samples:
        measure = tree.setdefault(each.measure, {"unit": each.unit, "subjects": {}})
        rounds = measure["subjects"].setdefault(each.subject, {})
        rounds[str(each.round)] = float(f"{each.value:.6g}")
    return tree


def load(path: Path) -> Results:
    """Read what `save` has written.

    Raises:
        ConfigError: it is no such file.
    """
    try:
        document = json.loads(path.read_text())
        if document["format"] != FORMAT:
            raise ConfigError(f"{path} has format {document['format']}, not {FORMAT}")
        samples = [
            Sample(measure, found["unit"], subject, float(value), int(number))
            for measure, found in document["measures"].items()
            for subject, rounds in found["subjects"].items()
            for number, value in rounds.items()
        ]
        facts, skipped = document["facts"], document["skipped"]
        return Results(facts, skipped, document["failures"], samples)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        text = f"{path} is not a result of `hypercache bench`: {error!r}"
        raise ConfigError(text) from error


def percentiles_us(latencies_ns: Iterable[int]) -> dict[str, float]:
    """Return p50, p99, p99.9 and max in microseconds."""
    ordered = sorted(latencies_ns)
    last = len(ordered) - 1
    shares = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
    return {name: ordered[int(last * share)] / 1e3 for name, share in shares.items()}
