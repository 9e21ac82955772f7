"""A believable Ghana of any size, for development (farms.demo)."""

from __future__ import annotations

import time
from datetime import date
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from core import clock
from core.errors import DomainError
from core.jobs.services import enqueue
from farms.demo.seeding import seed
from farms.models import Farm

LOCAL = ("127.0.0.1", "localhost", "::1")


class Command(BaseCommand):
    help = (
        "Write demonstration farms with people, applications, batches and daily production into a database that has no"
        " farms. Development only. All or nothing."
    )
    requires_system_checks = []  # as demo_data: in production the refusal is the answer

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--farms", type=int, default=60, help="how many farms (60)")
        parser.add_argument("--days", type=int, default=30, help="how many days of production, up to yesterday (30)")
        parser.add_argument("--seed", type=int, default=1, help="another number makes another country (1)")
        parser.add_argument("--today", type=date.fromisoformat, help="the day to count from (the present one in Accra)")
        parser.add_argument(
            "--if-empty", action="store_true", help="do nothing, and say why, where it would be refused"
        )

    def handle(
        self,
        *args: object,
        farms: int,
        days: int,
        today: date | None,
        if_empty: bool,
        verbosity: int = 1,
        **options: int,
    ) -> None:
        if settings.PMS_ENV != "development":
            raise CommandError(
                "Demonstration farms are refused in production. "
                "Set PMS_ENV=development if this is not a production system."
            )
        leads_out = _way_out()
        if if_empty and (reason := "there are farms" if Farm.objects.exists() else leads_out):
            self.stdout.write(f"No demonstration farms: {reason}.")
            return
        if leads_out:
            raise CommandError(f"Nothing was written: {leads_out}. Leave it empty: then texts go to the sandbox.")
        present = clock.accra(clock.now()).date()
        if today and today > present:
            raise CommandError(f"Nothing was written: --today lies in the future. The present day is {present}.")
        began = time.monotonic()
        try:
            with transaction.atomic():
                written = seed(
                    farms=farms,
                    days=days,
                    seed=options["seed"],
                    today=today or present,
                    said=self.stdout.write if verbosity > 1 else lambda _: None,
                )
                enqueue("farms.tasks.calculate_farm_scores")
        except DomainError as refused:
            raise CommandError(f"Nothing was written. {refused}") from refused
        counts = ", ".join(f"{count:,} {name}" for name, count in written.items())
        self.stdout.write(f"Demonstration farms in {time.monotonic() - began:.1f} s: {counts}.")


def _way_out() -> str:
    """Why messages to people who are not real could leave this machine, empty when they cannot."""
    hosts = {"HUBTEL_BASE_URL": urlsplit(settings.HUBTEL_BASE_URL).hostname, "EMAIL_HOST": settings.EMAIL_HOST}
    out = [name for name, host in hosts.items() if host not in LOCAL]
    return f"{out[0]} leads out of this machine, and demonstration people would be sent messages" if out else ""
