"""The supervisor: order, logs, restarts, and the end of everything it has started."""

import io
import os
import signal
import sys
import time

import pytest

from stack import supervisor as module
from stack.processes import Guard, StackError, marked, wait_until
from stack.supervisor import Service, Stopped, Supervisor


@pytest.fixture
def supervisor(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("MAKELEVEL", raising=False)
    monkeypatch.setenv("PMS_STACK", "")  # so that it is put back afterwards
    with Guard(str(tmp_path)) as guard:
        made = Supervisor(guard, io.StringIO())
        yield made
        made.stop()


def python(name, code, **more):
    return Service(name, [sys.executable, "-c", code], **more)


def turns(supervisor, until, seconds=20):
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, supervisor.output.getvalue()
        supervisor.turn(0.05)


SAYS_WHEN_IT_ENDS = """
import signal, sys, time
def end(number, frame):
    print("ends by", signal.Signals(number).name, flush=True)
    sys.exit()
for number in (signal.SIGTERM, signal.SIGINT): signal.signal(number, end)
print("up", flush=True)
time.sleep(60)
"""
DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def test_rounds_end_one_after_the_other_each_with_its_signal(supervisor):
    for name, number, stop_signal in (("a", 2, signal.SIGINT), ("b", 1, signal.SIGTERM), ("c", 0, signal.SIGTERM)):
        supervisor.start(python(name, SAYS_WHEN_IT_ENDS, stop_round=number, stop_signal=stop_signal))
    turns(supervisor, lambda: supervisor.output.getvalue().count("up") == 3)
    supervisor.stop()
    ends = [line for line in supervisor.output.getvalue().splitlines() if "ends" in line]
    assert ends == ["c        | ends by SIGTERM", "b        | ends by SIGTERM", "a        | ends by SIGINT"]


def test_the_last_words_of_who_has_ended_are_heard(supervisor):
    service = python("a", "print('last words')", restarts=False)
    supervisor.start(service)
    service.process.wait(20)
    supervisor.stop()
    assert supervisor.output.getvalue() == "a        | last words\n"


def test_every_line_carries_the_name_also_the_last_without_an_end(supervisor):
    supervisor.run("job", [sys.executable, "-c", "print('one\\ntwo', end='')"])
    assert supervisor.output.getvalue() == "job      | one\njob      | two\n"


def test_colours_only_where_they_are_wanted(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert module.coloured(Terminal())
    assert not module.coloured(io.StringIO())
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert module.coloured(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not module.coloured(Terminal())


def test_who_exits_is_started_again_after_pauses_that_grow(supervisor, monkeypatch):
    monkeypatch.setattr(module, "BACK_OFF", (0.1, 0.2, 0.4))
    begin = time.monotonic()
    supervisor.start(python("short", "print('up'); raise SystemExit(3)"))
    turns(supervisor, lambda: supervisor.output.getvalue().count("up") == 4)
    assert time.monotonic() - begin > 0.7
    assert supervisor.output.getvalue().count("short ended with exit code 3; it starts again in") >= 3


def test_the_pauses_are_those_of_the_documentation():
    assert module.BACK_OFF == (1, 2, 4, 8, 15)


def test_a_killed_parent_takes_its_children_along_before_it_is_started_again(supervisor, monkeypatch):
    monkeypatch.setattr(module, "BACK_OFF", (0.1,))
    parent = python("pool", "import os, time\nos.fork()\nprint('up', flush=True)\ntime.sleep(60)")
    supervisor.start(parent)
    turns(supervisor, lambda: supervisor.output.getvalue().count("up") == 2)
    old = marked(supervisor.guard.mark)
    assert len(old) == 2
    os.kill(parent.process.pid, signal.SIGKILL)
    turns(supervisor, lambda: supervisor.output.getvalue().count("up") == 4)
    assert "pool was ended by SIGKILL; it starts again" in supervisor.output.getvalue()
    assert not old & marked(supervisor.guard.mark)


def test_who_keeps_ending_before_it_is_ready_stops_all_with_its_last_lines(supervisor, monkeypatch):
    monkeypatch.setattr(module, "BACK_OFF", (0.1,))
    broken = python("web", "print('no such table'); raise SystemExit(1)", missing=lambda: "no worker seen")
    supervisor.start(broken)
    with pytest.raises(StackError, match=r"(?s)web keeps ending. Its last lines:\n    no such table"):
        supervisor.wait_ready([broken], 20)


def test_who_never_gets_ready_is_named(supervisor):
    slow = python("web", "import time; print('thinking', flush=True); time.sleep(60)", missing=lambda: "no worker seen")
    supervisor.start(slow)
    with pytest.raises(
        StackError, match=r"(?s)web is not ready after 1 s: no worker seen. Its last lines:\n    thinking"
    ):
        supervisor.wait_ready([slow], 1)


def test_a_command_that_fails_says_so_with_its_last_lines(supervisor):
    with pytest.raises(StackError, match=r"(?s)migrate ended with exit code 1. Its last lines:\n    no\Z"):
        supervisor.run("migrate", [sys.executable, "-c", "print('no'); raise SystemExit(1)"])


def test_who_does_not_end_is_killed_after_its_grace(supervisor):
    supervisor.start(python("deaf", DEAF, grace=0.5))
    turns(supervisor, lambda: "up" in supervisor.output.getvalue())
    begin = time.monotonic()
    supervisor.stop()
    assert 0.4 < time.monotonic() - begin < 3
    assert "deaf did not end in time and is killed" in supervisor.output.getvalue()


def test_a_second_ctrl_c_hurries(supervisor):
    supervisor.start(python("deaf", DEAF, grace=30))
    turns(supervisor, lambda: "up" in supervisor.output.getvalue())
    supervisor.listen()
    before = {number: signal.getsignal(number) for number in module.STOP_SIGNALS}
    try:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)  # what `make` passes on is not a second wish
        with pytest.raises(Stopped):
            turns(supervisor, lambda: False)
        assert supervisor.asked == 1
        signal.setitimer(signal.ITIMER_REAL, 1.5)
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
        begin = time.monotonic()
        supervisor.stop()
        assert time.monotonic() - begin < 5
    finally:
        for number in before:
            signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)


def test_what_hides_in_a_session_of_its_own_is_found_and_ended(supervisor):
    code = "import os, time\nif os.fork() == 0: os.setsid()\nprint('up', flush=True)\ntime.sleep(60)"
    supervisor.start(python("parent", code))
    turns(supervisor, lambda: supervisor.output.getvalue().count("up") == 2)
    supervisor.stop()
    assert marked(supervisor.guard.mark) == set()
    assert "ended 1 process(es) left over" in supervisor.output.getvalue()


def test_nobody_listens_any_more_is_a_wish_to_stop(supervisor):
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    supervisor.output = Closed()
    supervisor.say("hello")
    with pytest.raises(Stopped):
        supervisor.turn()


def test_a_killed_guard_is_replaced(supervisor):
    supervisor.turn()
    first = supervisor.guard._process
    first.kill()
    first.wait()
    supervisor.turn()
    assert supervisor.guard._process.pid != first.pid
    assert wait_until(lambda: supervisor.guard._process.poll() is None, 1)
