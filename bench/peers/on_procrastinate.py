# mypy: disable-error-code="import-not-found,import-untyped,no-untyped-call"
"""No-ops on procrastinate, in a database of its own: `procrastinate --app bench.peers.on_procrastinate.app worker`."""

from __future__ import annotations

import os

from procrastinate import App, PsycopgConnector

from bench import marks

app = App(connector=PsycopgConnector(conninfo=os.environ.get("BENCH_PROCRASTINATE", "")))


def _nothing(_number: int) -> None:
    pass


def _mark() -> None:
    marks.leave()


noop = app.task(name="noop")(_nothing)
mark = app.task(name="mark")(_mark)
