"""Packages as pip installs them: modules, and a dist-info that names entry points."""

from __future__ import annotations

from pathlib import Path


def install(
    site: Path,
    name: str,
    points: dict[str, str],
    *,
    group: str = "hypercache.engines",
    **modules: str,
) -> Path:
    """Put a distribution with entry points into a directory of sys.path."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    (info / "METADATA").write_text(metadata)
    lines = [f"{point} = {where}" for point, where in points.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
    for module, code in modules.items():
        (site / f"{module}.py").write_text(code)
    return site
