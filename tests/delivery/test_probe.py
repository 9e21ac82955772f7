"""`manage.py probe_hubtel`, against the sandbox: every question has its line, and nothing secret is in the report."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command

from core.base.models import AuditLog
from core.delivery import probe
from core.delivery.models import OutboundMessage
from stack.servers import free_port
from tests.delivery.outbox import PHONE, phones
from tests.delivery.raw_server import http, replying
from tests.sandbox.process import Sandbox

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def credentials(settings: LazySettings) -> None:
    settings.HUBTEL_CLIENT_ID, settings.HUBTEL_CLIENT_SECRET = "an-id-unseen", "a-secret-unseen"


def probed(tmp_path: Path, *words: str, to: list[str] | None = None) -> tuple[dict[str, Any], str]:
    out = io.StringIO()
    options = ("--yes-send-to", *(to or [PHONE]), "--wait", "2", "--out", str(tmp_path), *words)
    call_command("probe_hubtel", "--json", *options, stdout=out)
    answer = json.loads(out.getvalue())
    return answer, Path(answer["report"]).read_text() if "report" in answer else ""


def line(report: str, question: str) -> str:
    return next(row for row in report.splitlines() if row.startswith("|") and question in row)


def test_every_question_of_the_list_has_its_line_and_the_answers_are_the_sandboxs(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "LOOK_SECONDS", 0.2)
    sandbox.faults(deliver_after_ms=500)
    answer, report = probed(tmp_path, to=[PHONE, *phones(1)])
    assert answer["questions"] == 10
    assert answer["texts"] == 8 == sandbox.total()
    assert "| yes |" in line(report, "echo ClientReference")
    assert "two ids" in line(report, "The same ClientReference twice")
    assert "| no |" in line(report, "list messages")
    assert "| no |" in line(report, "found by our reference")
    assert "not answered" in line(report, "pushed")
    assert "Delivered" in line(report, "Which words")
    assert "2 of 2 named, 2 of 2 named; 2 of 2 can be read" in line(report, "Batches")
    assert "rate 0.06, units 2; text kept: yes" in line(report, "71 letters")
    assert "not answered" in line(report, "What does a 429")
    assert "| no |" in line(report, "balance")


def test_no_number_and_no_secret_is_in_the_report(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.faults(deliver_after_ms=0)
    _, report = probed(tmp_path)
    for secret in ("an-id-unseen", "a-secret-unseen", PHONE[1:], "authorization"):
        assert secret not in report
    assert "+233*****3456" in report
    assert '"messageId"' in report, "the shapes are kept as they came"


def test_the_71_letters_are_71_and_force_two_parts() -> None:
    from core import sms_text

    assert len(probe.UNICODE) == 71
    assert sms_text.measure(probe.UNICODE).parts == 2


def test_it_is_kept_who_probed_and_nothing_goes_through_the_outbox(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.faults(deliver_after_ms=0)
    probed(tmp_path)
    assert AuditLog.objects.get(action="hubtel.probed").after == {"texts": 6, "phones": 1}
    assert not OutboundMessage.objects.exists()


def test_pushed_receipts_are_in_the_report(
    sandbox: Sandbox, tmp_path: Path, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.delivery import receipts

    settings.HUBTEL_RECEIPT_TOKEN = "a-token-of-32-letters-and-more-000"
    sandbox.faults(deliver_after_ms=0)

    def statuses(prober: Any, sent: Any, wait: float, sleep: Any) -> dict[str, Any]:
        registered = list(sent)[-1].found["messageid"]
        raw = json.dumps({"messageid": registered, "status": "Delivered", "to": PHONE})
        receipts.pushed([receipts.Receipt(registered, "Delivered", "delivered", None, raw)], [])
        return {}

    monkeypatch.setattr(probe, "_statuses", statuses)
    _, report = probed(tmp_path)
    assert "| yes |" in line(report, "pushed")
    assert '"CallbackUrl"' in report
    assert settings.HUBTEL_RECEIPT_TOKEN not in report
    assert PHONE[1:] not in report


def test_a_dry_run_sends_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    answer, _ = probed(tmp_path, "--dry-run")
    assert answer["texts"] == 0
    assert len(answer["plan"]) == 5
    assert (sandbox.total(), list(tmp_path.iterdir())) == (0, [])
    assert not AuditLog.objects.exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "--yes-send-to"),
        (["--yes-send-to", *phones(6)], "At most 5"),
        (["--yes-send-to", "0302123456"], "landline"),
    ],
)
def test_without_phones_of_ones_own_nothing_is_sent(sandbox: Sandbox, words: list[str], says: str) -> None:
    with pytest.raises(CommandError, match=says):
        call_command("probe_hubtel", *words)
    assert sandbox.total() == 0


def test_without_credentials_nothing_is_sent(sandbox: Sandbox, settings: LazySettings, tmp_path: Path) -> None:
    settings.HUBTEL_CLIENT_ID = ""
    with pytest.raises(CommandError, match="HUBTEL_CLIENT_ID"):
        call_command("probe_hubtel", "--yes-send-to", PHONE, "--out", str(tmp_path))
    assert sandbox.total() == 0


@pytest.mark.parametrize("fault", ["away", "refusing", "babbling", "throttling"])
def test_whatever_answers_there_is_a_report_that_claims_nothing(
    settings: LazySettings, tmp_path: Path, fault: str
) -> None:
    answers = {
        "refusing": http(401, {"statusDescription": "no"}),
        "babbling": http(200, b"<html>```|"),
        "throttling": http(429, {"message": "slow down"}, Retry_After="30"),
    }
    with replying(lambda _request: answers[fault]) as server:
        settings.HUBTEL_BASE_URL = server.url if fault != "away" else f"http://127.0.0.1:{free_port()}/v1/messages"
        answer, report = probed(tmp_path)
    assert answer["questions"] == 10
    for question in ("The same ClientReference twice", "Which words", "Batches"):
        assert "not answered" in line(report, question)
    if fault == "throttling":
        assert "Retry-After: 30" in line(report, "What does a 429")
    else:
        assert "| yes |" not in report
        assert "not answered" in line(report, "What does a 429")
