"""The words of notices about the system, for people who run an office: what happened, what it means, what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

RUN_WORKER = "celery -A core worker -l INFO"
RUN_BEAT = "celery -A core beat -l INFO"

SWEEP_DOES = {
    "relay": "starts waiting tasks again that were lost on the way, and takes over the work of workers that died",
    "schedule": "takes over what operators change in the schedule",
    "unknown": "ends tasks that are no longer part of the system",
    "dispatch": "sends SMS and e-mails that are due and were not taken by a worker",
    "sealed": "wipes codes that were not sent before their time was over",
    "heartbeat": "notes that workers are alive",
    "watch": "notices what has stopped",
}
MEANS = {
    "healthy": "Everything that was checked is in order again. There is nothing to do.",
    "degraded": "SMS, e-mails and reports still go out, but something needs a person.",
    "down": "SMS, e-mails and reports do not go out at present. Nothing is lost: they go out when this is put right.",
}


def task_failed(
    *, name: str, does: str, when: str, error: str, attempts: int, run_id: str, scheduled: bool
) -> tuple[str, str]:
    app, _, function = name.partition(".tasks.")
    words = function.replace("_", " ") or name
    tried = "at the first attempt" if attempts <= 1 else f"after {attempts} attempts"
    again = "It runs again at its next time; until then" if scheduled else "It is not tried again by itself:"
    return (
        f'The task "{words}" has failed',
        (
            f'The task "{words}" ({app}) failed on {when}, {tried}.\n'
            f"What it is for: {does}\n"
            f"Error: {error}\n"
            f"{again} its work is not done.\n"
            f"What to do: on the server, read the whole error with: manage.py runs show {run_id}\n"
            f"When the cause is put right, run it again with: manage.py runs retry {run_id}"
        ),
    )


def health_changed(
    *, overall: str, before: str | None, when: str, wrong: Mapping[str, str], unknown: Sequence[str]
) -> tuple[str, str]:
    places = ", ".join(name.replace("_", " ") for name in wrong)
    was = f" Before, it was {before}." if before else ""
    lines = [f"On {when} the system was found {overall}.{was}", MEANS[overall]]
    lines += [f"- {name.replace('_', ' ')}: {words}" for name, words in wrong.items()]
    if unknown:
        lines.append(f"Not known: {', '.join(name.replace('_', ' ') for name in unknown)}.")
    return f"System health: {overall}" + (f" ({places})" if places else ""), "\n".join(lines)


def no_worker(*, when: str) -> tuple[str, str]:
    return (
        "No worker is running: no SMS, e-mail or report goes out",
        (
            f"The last sign of life of a worker was on {when}.\n"
            "What it means: nothing is sent or computed. Nothing is lost: what is asked for waits.\n"
            f"What to do: look whether the server is on, and start a worker: {RUN_WORKER}"
        ),
    )


def worker_silent(*, name: str, when: str) -> tuple[str, str]:
    return (
        f"The worker {name} has stopped",
        (
            f"The worker {name} gave its last sign of life on {when} and did not say that it would stop.\n"
            "What it means: the other workers take over what it was doing. Nothing is lost, but work may be slower.\n"
            f"What to do: look whether its machine is on, and start it again: {RUN_WORKER}\n"
            "If it stops again, its log says why."
        ),
    )


def beat_silent(*, name: str, when: str) -> tuple[str, str]:
    host = name.partition("@")[2] or name
    return (
        f"The scheduler on {host} has stopped",
        (
            f"The scheduler (beat) on {host} gave its last sign of life on {when}.\n"
            "What it means: the workers keep to the schedule meanwhile, so nothing is missed while one of them runs.\n"
            f"What to do: look whether the machine is on, and start it again: {RUN_BEAT}"
        ),
    )


def sweep_silent(*, name: str, when: str) -> tuple[str, str]:
    sweep = name.removeprefix("sweep:")
    does = SWEEP_DOES.get(sweep)
    means = f"nobody {does}" if does else "what it repairs stays as it is"
    return (
        f'The repair "{sweep}" no longer works',
        (
            f'No worker has completed the repair "{sweep}" since {when}, although workers run.\n'
            f"What it means: {means}. Nothing is lost, but it may wait.\n"
            f'What to do: look in the workers\' log for lines with "sweep_" and "{sweep}"; they say what is wrong.\n'
            "Starting the workers again helps when one hangs."
        ),
    )


def occurrences_missed(*, entry: str, count: int, day: str) -> tuple[str, str]:
    times = "One scheduled time" if count == 1 else f"{count} scheduled times"
    was, have = ("was", "has") if count == 1 else ("were", "have")
    return (
        f'{times} of "{entry}" {was} missed',
        (
            f'{times} of "{entry}" {have} passed without a run (noticed on {day}).\n'
            "This happens when the machine, PostgreSQL or every worker was off at that time.\n"
            "What was done: work that still makes sense late runs once, by itself; the rest is skipped.\n"
            "What to do: see each of these times and what became of it with: manage.py schedule list\n"
            "To make up for those that were skipped: manage.py schedule catch-up --dry-run"
        ),
    )
