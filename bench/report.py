# mypy: disable-error-code="import-untyped"
"""What a run found: printed while it is found, and kept as a page."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

PACKAGES = ("Django", "celery", "kombu", "redis", "psycopg", "dramatiq", "huey", "procrastinate")


class Report:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str = "") -> None:
        print(text, flush=True)
        self.lines.append(text)

    def part(self, name: str, text: str) -> None:
        self.say()
        self.say(f"## {name} (load average {os.getloadavg()[0]:.1f})")
        self.say()
        self.say(text)

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        widths = [max(len(row[column]) for row in [headings, *rows]) for column in range(len(headings))]
        self.say()
        for row in [headings, ["-" * width for width in widths], *rows]:
            self.say(f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |")
        self.say()

    def write(self, file: Path) -> None:
        file.parent.mkdir(exist_ok=True)
        file.write_text("\n".join(self.lines).strip() + "\n")
        print(f"Kept in {file.parent.name}/{file.name}.")


def machine(postgres: str, redis: str) -> str:
    """The machine in one line. Without its name or a path."""
    known = []
    for package in PACKAGES:
        try:
            known.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return (
        f"{os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GB, Python {platform.python_version()}, "
        f"PostgreSQL {postgres}, Redis {redis}, {', '.join(known)}. Clients and servers share the machine, over "
        f"loopback. Load average at the start {os.getloadavg()[0]:.1f}."
    )


def spread(values: Sequence[float], digits: int = 2) -> str:
    """The median, and between which values the rounds lay."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def ratio(value: float, bound: float, *, at_least: bool = False) -> tuple[str, str]:
    """A ratio and how it stands to its bound."""
    kept = value >= bound if at_least else value <= bound
    return f"{value:.2f}", f"{'>=' if at_least else '<='} {bound}: {'yes' if kept else 'NO'}"
