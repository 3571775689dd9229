"""Draw a run: PNG and SVG of each plot."""

from __future__ import annotations

import importlib
import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hypercache.bench.report import durability_of, figure
from hypercache.bench.results import Results
from hypercache.bench.stores import Durability
from hypercache.bench.subjects import OURS

OURS_COLOR, PEER_COLOR = "#1f6f8b", "#c9c9c9"
PEER = "rocksdict"
# Measures that say the same about hybrid and rocksdict, and how a reader calls them.
BESIDE = {
    "set, 100 B": "set",
    "get, 100 B": "get, hot",
    "get, cold": "get, cold",
    "set, 4 KiB": "set, 4 KiB",
    "get, 4 KiB": "get, 4 KiB",
    "set_many of 100, an entry": "set_many",
    "uniform inserts": "2 M uniform inserts",
    "Zipf updates": "Zipf updates",
    **{f"YCSB {mix}": f"YCSB {mix}" for mix in "ABCFD"},
}
LATENCIES = ("p50", "p99", "p99.9", "max")


def draw(results: Results, directory: Path, prefix: str) -> list[Path]:
    """Draw what was measured and return the files."""
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    # The same figures make the same bytes.
    matplotlib.rcParams.update({"svg.hashsalt": "hypercache", "font.size": 9})
    plots: dict[str, Callable[[Any, Results], bool]] = {
        "beside": _beside,
        "single": _single,
        "latency": _latency,
        "growth": _growth,
    }
    written = []
    for name, plot in plots.items():
        plt = importlib.import_module("matplotlib.pyplot")
        figure_, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
        if plot(axes, results):
            for kind, metadata in (("png", None), ("svg", {"Date": None})):
                path = directory / f"{prefix}-{name}.{kind}"
                figure_.savefig(path, dpi=120, metadata=metadata)
                written.append(path)
        plt.close(figure_)
    return written


def _beside(axes: Any, results: Results) -> bool:
    """Draw how many times as fast as the peer the hybrid engine is."""
    pairs = [
        (label, statistics.median(found))
        for measure, label in BESIDE.items()
        if (found := results.ratios((measure, PEER), (measure, "hybrid")))
    ]
    if not pairs:
        return False
    labels, ratios = zip(*reversed(pairs), strict=True)
    colors = [OURS_COLOR if ratio >= 1 else PEER_COLOR for ratio in ratios]
    bars = axes.barh(labels, ratios, color=colors)
    axes.bar_label(bars, [f"{ratio:.1f}" for ratio in ratios], padding=3)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel(f"times as fast as {PEER} (hybrid, everysec; its log not synced)")
    return True


def _single(axes: Any, results: Results) -> bool:
    """Draw a set and a get of everything that survives kill -9."""
    measures = "set, 100 B", "get, 100 B"
    names = [
        name
        for name in results.subjects(measures[0])
        if durability_of(name) is Durability.SYSTEM
    ]
    if not names:
        return False
    names.sort(key=lambda name: -(results.median(measures[0], name) or 0))
    for shift, measure, shade in ((0.2, measures[0], 1.0), (-0.2, measures[1], 0.55)):
        values = [results.median(measure, name) or math.nan for name in names]
        places = [place + shift for place in range(len(names))]
        colors = [OURS_COLOR if name in OURS else "#8a8a8a" for name in names]
        bars = axes.barh(places, values, 0.38, color=colors, alpha=shade)
        texts = [f"{measure[:3]} {figure(value)}" for value in values]
        axes.bar_label(bars, texts, padding=3)
    axes.set_yticks(range(len(names)), names)
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.set_xlabel("microseconds, 16-byte keys, 100-byte values (less is better)")
    return True


def _latency(axes: Any, results: Results) -> bool:
    """Draw the percentiles of a set under a sustained load of inserts."""
    names = results.subjects("uniform inserts, p50")
    if not names:
        return False
    for name in names:
        values = [
            results.median(f"uniform inserts, {label}", name) or math.nan
            for label in LATENCIES
        ]
        _line(axes, LATENCIES, values, name)
    axes.set_yscale("log")
    axes.set_ylabel("microseconds of a set under uniform inserts")
    axes.legend()
    return True


def _growth(axes: Any, results: Results) -> bool:
    """Draw what an operation takes in stores of growing size."""
    sizes = [
        int(measure.removeprefix("get among ").replace(",", ""))
        for measure in results.measures()
        if measure.startswith("get among ")
    ]
    if not sizes:
        return False
    for name in results.subjects(f"get among {sizes[0]:,}"):
        for what, style in (("set into", "-"), ("get among", "--")):
            values = [results.median(f"{what} {n:,}", name) or math.nan for n in sizes]
            _line(axes, sizes, values, f"{name}, {what[:3]}", style)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("keys in the store")
    axes.set_ylabel("microseconds of an operation")
    axes.legend(fontsize=7)
    return True


def _line(
    axes: Any, x: Sequence[Any], y: Sequence[float], name: str, style: str = "-"
) -> None:
    width = 2.2 if name.partition(",")[0] in OURS else 1.2
    axes.plot(x, y, style, marker="o", markersize=4, linewidth=width, label=name)
