"""The cases of the matrix: what is sent, what goes wrong with it, and what must then be in doubt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# where a worker dies: tests/matrix/killer.py knows the places in the code; True where nobody can know what was sent
KILLS = {
    "before the attempt is written": False,
    "attempt written, nothing sent": True,
    "answer read, not written": True,
    "answer written": False,
}
DOORS = ("sms", "code", "bulk", "mail")


@dataclass(frozen=True)
class Case:
    """`ambiguous`: the calls that meet the fault leave no proof of what became of their messages, so all of them, and
    no others, must end in doubt. `hits` bounds how many calls meet it; `seconds` how long it lasts.
    """

    what: str
    doors: tuple[str, ...]
    faults: dict[str, Any] = field(default_factory=dict)
    ambiguous: bool = False
    kill: str = ""
    act: str = ""  # something done to the servers or rows in mid-send
    workers: int = 1

    def name(self, door: str) -> str:
        return f"{door}: {self.what}"


_HTTP = ("sms", "code", "bulk")
_SLOW = {"latency_ms": 1500, "smtp_delay_ms": 1500}
_SHARE = {"share": 0.3, "seed": 7}

CASES = (
    Case("nothing goes wrong", DOORS),
    # proven not sent: they wait, and go out later
    Case("429, too many requests", _HTTP, {"error_status": 429, **_SHARE}),
    Case("503, not available", _HTTP, {"error_status": 503, **_SHARE}),
    Case("out of funds by the body of a 201", _HTTP, {"body_status": 12}),
    Case("credentials refused", _HTTP, {"error_status": 401}),
    Case("gateway not reached", _HTTP, {"refuse": 4}),
    Case("mail server not reached", ("mail",), {"smtp_refuse": 4}),
    Case("mail server says later (451)", ("mail",), {"smtp_error": 451, **_SHARE}),
    # the request went out and its answer is lost
    Case("read and never answered, nothing taken", _HTTP, {"hang": True, **_SHARE}, ambiguous=True),
    Case("reset after the headers, nothing taken", _HTTP, {"reset_after_headers": True, **_SHARE}, ambiguous=True),
    Case("500, nothing taken", _HTTP, {"error_status": 500, **_SHARE}, ambiguous=True),
    Case("taken, never answered", _HTTP, {"hang_after_accept": True, **_SHARE}, ambiguous=True),
    Case("taken, connection reset", _HTTP, {"reset_after_accept": True, **_SHARE}, ambiguous=True),
    Case("taken, answered 502", _HTTP, {"error_after_accept_status": 502, **_SHARE}, ambiguous=True),
    Case("taken, half an answer", _HTTP, {"truncate": True, **_SHARE}, ambiguous=True),
    Case("taken, answered after the time-out", _HTTP, {"delay_ms": 3000, **_SHARE}, ambiguous=True),
    Case("closed after DATA, nothing taken", ("mail",), {"smtp_drop_before_accept": True, **_SHARE}, ambiguous=True),
    Case("closed after DATA, taken", ("mail",), {"smtp_drop_after_data": True, **_SHARE}, ambiguous=True),
    # a worker dies at each step
    *(
        Case(f"worker killed: {step}", ("sms", "bulk", "mail"), kill=step, ambiguous=open_)
        for step, open_ in KILLS.items()
    ),
    Case("worker killed in mid-call", ("sms", "bulk", "mail"), _SLOW, ambiguous=True, act="kill worker"),
    # around it
    Case("four workers at once", DOORS, {"latency_ms": 50}, workers=4),
    Case("leases run out in mid-call, the answers come late", ("sms", "bulk"), {"latency_ms": 800}, act="leases over"),
    Case("FLUSHALL in mid-send", DOORS, {"latency_ms": 50}, act="flush"),
    Case("Redis killed in mid-send, back after 3 s", DOORS, {"latency_ms": 50}, act="kill redis"),
    Case("PostgreSQL restarted in mid-send", DOORS, {"latency_ms": 50}, act="restart postgres"),
)  # fmt: skip
