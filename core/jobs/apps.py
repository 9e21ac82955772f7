from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "core.jobs"
    label = "jobs"
    verbose_name = "Ledger"

    def ready(self) -> None:
        from core.jobs import kombu_guard, relay, sweeper

        kombu_guard.install()
        sweeper.register("relay", every_seconds=relay.EVERY_SECONDS, run=relay.sweep)
