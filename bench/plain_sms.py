"""What many write first: a Celery task for every SMS, which posts it with httpx and keeps nothing."""

from __future__ import annotations

import os

import httpx
from celery import Celery

from bench import marks

app = Celery("plain_sms", broker=os.environ["BENCH_REDIS"], fixups=[], set_as_current=False)
app.conf.update(task_default_queue="plain_sms", task_ignore_result=True, worker_hijack_root_logger=False)
_client: list[httpx.Client] = []


@app.task(name="plain_sms.send")
def send(phone: str, text: str) -> None:
    if not _client:
        _client.append(httpx.Client(auth=("sandbox", "sandbox"), trust_env=False))
    body = {"From": "YEA", "To": phone.lstrip("+"), "Content": text}
    _client[0].post(f"{os.environ['BENCH_SMS']}/send", json=body).raise_for_status()


mark = app.task(name="plain_sms.mark")(marks.leave)
