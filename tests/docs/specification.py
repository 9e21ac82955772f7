"""docs/background-tasks.md taken apart, and what of it the product does not have yet."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/background-tasks.md"
TEXT = PAGE.read_text()

# Tasks that no app has yet. A test compares this with the registered tasks: a task that comes leaves the list.
TASKS_NOT_YET = {
    *(f"dashboards.tasks.{name}" for name in (
        "aggregate_daily_metrics", "aggregate_regional_metrics", "generate_weekly_report", "refresh_dashboard_cache",
        "generate_production_report",
    )),
    *(f"sales_revenue.tasks.{name}" for name in (
        "check_expired_activations", "send_expiration_warnings", "calculate_daily_platform_revenue",
        "sync_order_commissions", "generate_seller_payout_report",
    )),
    *(f"advertising.tasks.{name}" for name in (
        "aggregate_advertising_analytics", "process_new_advertiser_lead", "check_expiring_offers",
        "deactivate_expired_offers", "calculate_partner_earnings",
    )),
}  # fmt: skip
NAMES_NOT_YET = {"sales_revenue.models.Order"}  # what else its snippets import
FILES_NOT_YET = {f"{task.partition('.')[0]}/tasks.py" for task in TASKS_NOT_YET}


@dataclass(frozen=True)
class Block:
    """A fenced block, with the heading it stands under: no heading of the page has two."""

    heading: str
    language: str
    text: str


@dataclass(frozen=True)
class TaskRow:
    """A line of the page's tables of tasks. `use` is the last column: a call or a time."""

    task: str
    use: str


def blocks() -> dict[str, Block]:
    found: dict[str, Block] = {}
    heading = ""
    for title, language, text in re.findall(r"^(?:#+ ([^\n]+)|```(\w*)\n(.*?)^```)$", TEXT, re.MULTILINE | re.DOTALL):
        if title:
            heading = title
            continue
        assert heading not in found, f"two blocks under {heading!r}"
        found[heading] = Block(heading, language, text)
    return found


def snippet(heading: str) -> str:
    return blocks()[heading].text


def commands() -> list[str]:
    """Every command line of the page, and every option: in its bash blocks, and within its sentences."""
    lines = [line for block in blocks().values() if block.language == "bash" for line in block.text.splitlines()]
    typed = [line for line in lines if line and not line.startswith("#") and not re.match(r"[A-Z_]+=", line)]
    prose = re.sub(r"^```.*?^```$", "", TEXT, flags=re.MULTILINE | re.DOTALL)
    words = r"redis-cli|celery|journalctl|systemctl|sudo|python|pip|chmod|\./|--"
    return list(dict.fromkeys([*typed, *re.findall(rf"`((?:{words})[^`\n]*)`", prose)]))


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its head."""
    section = re.split(r"^#+ ", TEXT.partition(f"# {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    lines = re.findall(r"^\|(.+)\|$", section, re.MULTILINE)
    return [[cell.strip() for cell in line.split("|")] for line in lines[2:]]


def tasks() -> list[TaskRow]:
    """Every task of the tables under "Available Tasks"."""
    found = []
    for heading, package in re.findall(r"^### (.+ Tasks \(`(\w+)/tasks\.py`\))$", TEXT, re.MULTILINE):
        found += [TaskRow(f"{package}.tasks.{name.strip('`')}", use) for name, _, use in rows(heading)]
    return found


def cron(words: str) -> str | None:
    """The cron lines that the page's words for a time allow, as a pattern. None for "on demand".

    A minute or an hour that the words do not name may be any.
    """
    words = words.lower().removeprefix("scheduled ")
    fixed = {
        "hourly": r"\d+ \* \* \* \*",
        "every hour": r"\d+ \* \* \* \*",
        "weekly": r"\d+ \d+ \* \* \d",
        "daily midnight": r"0 0 \* \* \*",
    }
    if words == "on-demand" or words in fixed:
        return fixed.get(words)
    if found := re.fullmatch(r"every (\d+) (min|hours)", words):
        return rf"\*/{found[1]} \* \* \* \*" if found[2] == "min" else rf"\d+ \*/{found[1]} \* \* \*"
    found = re.fullmatch(r"(daily|weekdays|monday|sunday) (\d+)(?::(\d+))? am", words)
    assert found, f"no cron is known for {words!r}"
    day = {"daily": r"\*", "weekdays": "1-5", "monday": "1", "sunday": "0"}[found[1]]
    return rf"{int(found[3] or 0)} {found[2]} \* \* {day}"
