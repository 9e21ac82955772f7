from django.apps import AppConfig


class HealthConfig(AppConfig):
    name = "core.health"
    label = "health"
    verbose_name = "Health"

    def ready(self) -> None:
        from celery import signals

        from core.base.registries import PLATFORM, NoticeType, SystemFigure, notice_types, system_figures
        from core.health import metrics, notices, pulse, services

        signals.worker_ready.connect(services.begin_beating, weak=False)
        signals.beat_init.connect(pulse.begin, weak=False)
        notice_types.register("system_error", NoticeType(PLATFORM, notices.system_error))
        notice_types.register("health_change", NoticeType(PLATFORM, notices.health_change))
        notice_types.register("process_silent", NoticeType(PLATFORM, notices.process_silent))
        notice_types.register("occurrences_missed", NoticeType(PLATFORM, notices.occurrences_missed))
        system_figures.register("queues", SystemFigure(metrics.queues, of_now=True))
        system_figures.register("messages", SystemFigure(metrics.messages, of_now=False))
