from django.apps import AppConfig


class HealthConfig(AppConfig):
    name = "core.health"
    label = "health"
    verbose_name = "Health"

    def ready(self) -> None:
        from celery import signals

        from core.health import services

        signals.worker_ready.connect(services.begin_beating, weak=False)
