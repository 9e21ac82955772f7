from django.apps import AppConfig


class BaseConfig(AppConfig):
    name = "core.base"
    label = "base"
    verbose_name = "Base"

    def ready(self) -> None:
        from core.base import chain
        from core.base.registries import ChainedTable, SystemFigure, chained_tables, system_figures

        columns = ("id", "actor_id", "actor_name", "action", "subject_type", "subject_id", "before", "after", "reason")
        chained_tables.register("base_auditlog", ChainedTable(forms=((*columns, "at"),)))
        system_figures.register("audit", SystemFigure(chain.figures, of_now=True))
