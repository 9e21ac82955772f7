"""States and what a failure leads to."""

from __future__ import annotations

import pytest
from celery import states
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DomainError, InvalidInput, NotFound, TemporaryError
from core.jobs.rules import (
    CELERY_STATUS,
    FINAL,
    MAX_ATTEMPTS,
    TRANSITIONS,
    Again,
    GiveUp,
    State,
    after_failure,
)


def test_every_state_says_what_may_follow_it() -> None:
    assert set(TRANSITIONS) == set(State)
    assert {following for all_of_them in TRANSITIONS.values() for following in all_of_them} <= set(State)


def test_final_is_final() -> None:
    assert {State.SUCCEEDED, State.FAILED, State.CANCELLED, State.SKIPPED} == FINAL
    assert all(not TRANSITIONS[state] for state in FINAL)


def test_every_state_leads_to_an_end() -> None:
    def reaches_an_end(state: State, seen: frozenset[State]) -> bool:
        return state in FINAL or any(
            reaches_an_end(following, seen | {state}) for following in TRANSITIONS[state] - seen
        )

    assert all(reaches_an_end(state, frozenset()) for state in State)


def test_nothing_becomes_what_it_is() -> None:
    assert all(state not in following for state, following in TRANSITIONS.items())


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("pending", "PENDING"),
        ("running", "STARTED"),
        ("retrying", "RETRY"),
        ("succeeded", "SUCCESS"),
        ("skipped", "SUCCESS"),
        ("failed", "FAILURE"),
        ("cancelled", "REVOKED"),
    ],
)
def test_each_state_has_celerys_word(state: str, status: str) -> None:
    assert CELERY_STATUS[State(state)] == status
    assert (status in states.READY_STATES) == (State(state) in FINAL)


@pytest.mark.parametrize(
    ("error", "attempts", "decision"),
    [
        (TemporaryError("away"), 1, Again(60)),
        (TemporaryError("away"), 2, Again(120)),
        (TemporaryError("away"), 3, Again(240)),
        (TemporaryError("away"), 4, GiveUp()),
        (OSError("reset"), 1, Again(60)),
        (KeyError("a fault of ours"), 3, Again(240)),
        (ValueError("a fault of ours"), 4, GiveUp()),
        (InvalidInput("a bad number"), 1, GiveUp()),
        (NotFound("no such row"), 1, GiveUp()),
        (DomainError("a broken rule"), 2, GiveUp()),
        (TemporaryError("away"), 9, GiveUp()),
    ],
)
def test_a_failure_is_tried_again_or_given_up(error: Exception, attempts: int, decision: Again | GiveUp) -> None:
    assert after_failure(error, attempts, jitter=0) == decision


@given(attempts=st.integers(1, 1000), jitter=st.none() | st.floats(-1, 1))
def test_a_wait_is_within_a_tenth_and_there_are_never_more_than_four_tries(attempts: int, jitter: float | None) -> None:
    decision = after_failure(RuntimeError(), attempts, jitter=jitter)
    if attempts >= MAX_ATTEMPTS:
        assert decision == GiveUp()
    else:
        assert isinstance(decision, Again)
        assert decision.seconds == pytest.approx(60 * 2 ** (attempts - 1), rel=0.1001)


def test_waits_are_spread() -> None:
    waits = {after_failure(RuntimeError(), 1) for _ in range(50)}
    assert len(waits) > 10, "runs that failed together would come back together"
