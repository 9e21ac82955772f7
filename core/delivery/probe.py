"""The questions that Hubtel's public pages leave open (delivery.md 1.3), put to the live API with a few texts to phones
of our own. The answers go into a dated report; the product works whatever they are.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings

from core import clock, phones
from core.delivery.gateways.hubtel import meaning_of
from core.delivery.gateways.hubtel_probe import Exchange, Prober, masked
from core.delivery.models import DeliveryReceipt
from core.delivery.rules import FINAL, ReceiptSource
from core.errors import InvalidInput

MOST_PHONES = 5
WAIT_SECONDS = 60.0
LOOK_SECONDS = 5.0
UNICODE = "Mepa wo kyɛw, wei yɛ sɔhwɛ. " + "ɔ" * 43  # 71 letters
_THERE_IS_NONE = {404, 405}
SAME_REFERENCE, UNICODE_TEXT, REGISTERED = "same reference", "71 letters with ɔ", "receipt asked for"


@dataclass(frozen=True)
class Finding:
    """`answer` is None when it stays open; `why` says what was seen, or what would be needed."""

    question: str
    answer: str | None
    why: str


@dataclass(frozen=True)
class Report:
    at: datetime
    findings: tuple[Finding, ...]
    exchanges: tuple[Exchange, ...]
    texts: int


def checked_phones(numbers: Iterable[str]) -> list[str]:
    """The phones to use, each once. Raises InvalidInput for none, too many, and what is no mobile."""
    chosen = list(dict.fromkeys(phones.normalise(number) for number in numbers))
    if not chosen:
        raise InvalidInput("Name phones of your own that get the texts: --yes-send-to 0244123456")
    if len(chosen) > MOST_PHONES:
        raise InvalidInput(f"At most {MOST_PHONES} phones: this is a probe, nothing is sent in bulk.")
    return chosen


def plan(chosen: Sequence[str]) -> list[str]:
    """What would be sent, in words."""
    first, count = phones.mask(chosen[0]), len(chosen)
    return [
        f"2 texts with one ClientReference to {first}",
        f"1 text of 71 letters with ɔ to {first}",
        f"1 text with RegisteredDelivery and CallbackUrl to {first}",
        f"1 batch of one text to {count} phone(s), 1 batch of {count} texts",
        "reads: status of each, of both batches, the list, by reference, the balance",
    ]


def count_of_texts(chosen: Sequence[str]) -> int:
    return 4 + 2 * len(chosen)


def run(chosen: Sequence[str], *, wait: float, sleep: Callable[[float], None] = time.sleep) -> Report:
    """Ask everything. Sends `count_of_texts` texts; not safe to repeat, each run sends them anew."""
    at = clock.now()
    prober = Prober()
    reference = str(uuid.uuid4())
    note = f"Probe of {at:%Y-%m-%d %H:%M}"
    singles = {
        f"{SAME_REFERENCE}, first": _one(prober, chosen[0], f"{note}, A", f"{SAME_REFERENCE}, first", reference),
        f"{SAME_REFERENCE}, second": _one(prober, chosen[0], f"{note}, A", f"{SAME_REFERENCE}, second", reference),
        UNICODE_TEXT: _one(prober, chosen[0], UNICODE, UNICODE_TEXT, str(uuid.uuid4())),
        REGISTERED: _one(
            prober,
            chosen[0],
            f"{note}, B",
            REGISTERED,
            str(uuid.uuid4()),
            RegisteredDelivery=True,
            **({"CallbackUrl": callback()} if settings.HUBTEL_RECEIPT_TOKEN else {}),
        ),
    }
    numbers = [phone.lstrip("+") for phone in chosen]
    batches = [
        prober.post(
            "batch of one text",
            "/batch/simple/send",
            {"From": settings.HUBTEL_SENDER, "Recipients": numbers, "Content": f"{note}, C"},
        ),
        prober.post(
            "batch of a text for each",
            "/batch/personalized/send",
            {
                "From": settings.HUBTEL_SENDER,
                "personalizedRecipients": [{"To": to, "Content": f"{note}, D{n}"} for n, to in enumerate(numbers)],
            },
        ),
    ]
    listed = prober.get("the list of messages", "")
    filtered = prober.get("the list by reference", "", {"clientReference": reference})
    by_reference = prober.get("a status by our reference", f"/{reference}")
    balance = prober.balance("the balance")
    statuses = _statuses(prober, singles.values(), wait, sleep)
    known = [batch_id for batch_id in map(_batch_id, batches) if batch_id]
    batch_states = [prober.get("status of a batch", f"/batch/{batch_id}") for batch_id in known]
    findings = [
        _echo(singles[f"{SAME_REFERENCE}, first"], reference),
        _twice(singles[f"{SAME_REFERENCE}, first"], singles[f"{SAME_REFERENCE}, second"]),
        _alive("Does GET on the messages path list messages?", listed),
        _filter(listed, filtered, by_reference, reference),
        _pushes(singles[REGISTERED]),
        _words(statuses.values()),
        _batch(batches, batch_states, len(chosen)),
        _unicode(singles[UNICODE_TEXT], statuses.get(UNICODE_TEXT)),
        _throttled(prober.exchanges),
        _alive("Is there a balance path?", balance),
    ]
    return Report(at, tuple(findings), tuple(prober.exchanges), count_of_texts(chosen))


def callback() -> str:
    return f"{settings.BASE_URL.rstrip('/')}/hooks/hubtel/receipts/{settings.HUBTEL_RECEIPT_TOKEN}"


def _one(prober: Prober, phone: str, text: str, title: str, reference: str, **more: Any) -> Exchange:
    body = {"From": settings.HUBTEL_SENDER, "To": phone.lstrip("+"), "Content": text, "ClientReference": reference}
    return prober.post(title, "/send", {**body, **more})


def _statuses(
    prober: Prober, sent: Iterable[Exchange], wait: float, sleep: Callable[[float], None]
) -> dict[str, Exchange]:
    """The last status of each text, by its title: asked until all have ended or the time is up."""
    open_ones = {each.title: str(each.found.get("messageid") or "") for each in sent}
    last: dict[str, Exchange] = {}
    ends = time.monotonic() + wait
    while True:
        for title, message_id in list(open_ones.items()):
            if not message_id:
                del open_ones[title]
                continue
            last[title] = prober.get(f"status of: {title}", f"/{message_id}")
            if meaning_of(str(last[title].found.get("status", ""))) in FINAL or not last[title].ok:
                del open_ones[title]
        left = ends - time.monotonic()
        if not open_ones or left <= 0:
            return last
        sleep(min(LOOK_SECONDS, left))


# --- the answers ----------------------------------------------------------------------------------------------------


def _saw(exchange: Exchange) -> str:
    return f"HTTP {exchange.status}" if exchange.status else f"no answer ({exchange.error})"


def _batch_id(exchange: Exchange) -> str:
    return str(exchange.found.get("batchid") or "")


def _echo(sent: Exchange, reference: str) -> Finding:
    question = "Does POST echo ClientReference?"
    if not sent.ok:
        return Finding(question, None, f"the text was not accepted: {_saw(sent)}")
    echoed = sent.found.get("clientreference") == reference
    return Finding(question, "yes" if echoed else "no", _saw(sent))


def _twice(first: Exchange, second: Exchange) -> Finding:
    question = "The same ClientReference twice: one text or two?"
    ids = [each.found.get("messageid") for each in (first, second)]
    if not (first.ok and ids[0]):
        return Finding(question, None, f"the first was not accepted: {_saw(first)}")
    if not (second.ok and ids[1]):
        return Finding(question, "the second is refused", _saw(second))
    if ids[0] == ids[1]:
        return Finding(question, "one id for both", "look at the phone: how many texts 'A' came?")
    return Finding(question, "two ids, so two texts", "look at the phone: two texts 'A' should be there")


def _alive(question: str, exchange: Exchange) -> Finding:
    answer = "yes" if exchange.ok and exchange.found else "no" if exchange.status in _THERE_IS_NONE else None
    return Finding(question, answer, f"{_saw(exchange)}; {_shape(exchange)}")


def _shape(exchange: Exchange) -> str:
    names = ", ".join(sorted(exchange.found)[:12])
    return f"fields: {names}" if names else "no JSON object"


def _filter(listed: Exchange, filtered: Exchange, by_reference: Exchange, reference: str) -> Finding:
    question = "Can a message be found by our reference?"
    if by_reference.ok and str(by_reference.found.get("clientreference")) == reference:
        return Finding(question, "yes, in place of its id", _saw(by_reference))
    if filtered.ok and reference in filtered.body:
        whole = listed.ok and len(filtered.body) >= len(listed.body)
        answer = "perhaps: the list has it" if whole else "yes, by a filter of the list"
        return Finding(question, answer, _saw(filtered))
    if not {filtered.status, by_reference.status} <= _THERE_IS_NONE | {200}:
        return Finding(question, None, f"list: {_saw(filtered)}, path: {_saw(by_reference)}")
    return Finding(question, "no", f"list: {_saw(filtered)}, path: {_saw(by_reference)}")


def _pushes(sent: Exchange) -> Finding:
    question = "Are receipts pushed (RegisteredDelivery, CallbackUrl), and with which fields?"
    if not settings.HUBTEL_RECEIPT_TOKEN:
        return Finding(question, None, "HUBTEL_RECEIPT_TOKEN is not set, so there was no address to push to")
    message_id = str(sent.found.get("messageid") or "")
    came = DeliveryReceipt.objects.filter(source=ReceiptSource.PUSH.value, provider_id=message_id)
    raw = [receipt.raw for receipt in came.order_by("received_at")[:3]] if message_id else []
    if not raw:
        return Finding(question, None, "none came in this time; the sandbox or a firewall may be in between")
    return Finding(question, "yes", "; ".join(masked(each) for each in raw))


def _words(statuses: Iterable[Exchange]) -> Finding:
    question = "Which words has a status (phone off, wrong number, DND, foreign)?"
    words = sorted({str(each.found["status"]) for each in statuses if each.ok and each.found.get("status")})
    unknown = [word for word in words if not meaning_of(word)]
    if not words:
        return Finding(question, None, "no status could be read")
    seen = f"{', '.join(words)}" + (f"; not known to us: {', '.join(unknown)}" if unknown else "")
    return Finding(question, seen, "only of the phones used; switch one off and probe again for the others")


def _batch(batches: Sequence[Exchange], states: Sequence[Exchange], count: int) -> Finding:
    question = "Batches: are all named in the reply, can they be read, and what is the ceiling?"
    if not all(batch.ok and isinstance(batch.found.get("data"), list) for batch in batches):
        return Finding(question, None, "; ".join(f"{batch.title}: {_saw(batch)}" for batch in batches))
    named = ", ".join(f"{len(batch.found['data'])} of {count} named" for batch in batches)
    read = sum(state.ok for state in states)
    answer = f"{named}; {read} of {len(batches)} can be read"
    return Finding(question, answer, "the ceiling is not probed: never in bulk")


def _unicode(sent: Exchange, status: Exchange | None) -> Finding:
    question = "Unicode: automatic, and what do 71 letters with ɔ cost?"
    if not sent.ok:
        return Finding(question, None, _saw(sent))
    units = status.found.get("units") if status else None
    rate = sent.found.get("rate")
    kept = status is not None and status.found.get("content") == UNICODE
    text = f"accepted without Type=2; rate {rate}, units {units}; text kept: {'yes' if kept else 'not shown'}"
    return Finding(question, text, "two parts are right; look at the phone for the letters")


def _throttled(exchanges: Iterable[Exchange]) -> Finding:
    question = "What does a 429 look like?"
    seen = next((each for each in exchanges if each.status == 429), None)  # noqa: PLR2004 - the question itself
    if seen is None:
        return Finding(question, None, "none was seen, and none is provoked")
    return Finding(question, f"Retry-After: {seen.headers.get('retry-after', 'none')}", _shape(seen))


# --- the report -----------------------------------------------------------------------------------------------------


def as_markdown(report: Report) -> str:
    """The report, numbers and secrets masked."""
    host = settings.HUBTEL_BASE_URL
    lines = [
        f"# Hubtel, probed {clock.accra(report.at):%-d %B %Y, %H:%M} (Accra)",
        "",
        f"Address {host}, sender {settings.HUBTEL_SENDER}, {report.texts} texts sent.",
        "Questions: delivery.md 1.3. Numbers and secrets are masked.",
        "",
        "| question | answer | seen |",
        "|---|---|---|",
        *[_line(one) for one in report.findings],
        "",
        "## What was said",
    ]
    for one in report.exchanges:
        lines += ["", f"### {one.title}", "", "```", f"{one.method} {one.url}"]
        if one.sent:
            lines.append(json.dumps(one.sent, ensure_ascii=False))
        lines += ["", f"{one.status or one.error} in {one.seconds:.2f} s"]
        lines += [f"{name}: {value}" for name, value in one.headers.items()]
        lines += [one.body.replace("```", "'''"), "```"]
    return masked("\n".join(lines)) + "\n"


def _line(one: Finding) -> str:
    return f"| {_cell(one.question)} | {_cell(one.answer or '**not answered**')} | {_cell(one.why)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
