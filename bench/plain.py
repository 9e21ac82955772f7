"""Plain Celery beside the product: its defaults, JSON, no Django, on the same Redis."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.contrib.django.task import DjangoTask

from bench import marks

app = Celery(
    "plain", broker=os.environ["BENCH_REDIS"], backend=os.environ["BENCH_REDIS"], fixups=[], set_as_current=False
)
app.conf.update(task_default_queue="plain", worker_hijack_root_logger=False)


def _nothing(_number: int) -> None:
    pass


def _number(number: int) -> int:
    return number


noop = app.task(name="plain.noop", ignore_result=True)(_nothing)
noop_with_result = app.task(name="plain.noop_with_result")(_number)
noop_on_commit: Any = app.task(name="plain.noop_on_commit", base=DjangoTask, ignore_result=True)(_nothing)
mark = app.task(name="plain.mark", ignore_result=True)(marks.leave)
