from django.apps import AppConfig


class HealthConfig(AppConfig):
    name = "core.health"
    label = "health"
    verbose_name = "Health"

    def ready(self) -> None:
        from core.health import services
        from core.jobs import sweeper

        sweeper.register("heartbeat", every_seconds=services.HEARTBEAT_SECONDS, run=services.beat)
