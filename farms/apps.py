from django.apps import AppConfig


class FarmsConfig(AppConfig):
    name = "farms"
    label = "farms"
    verbose_name = "Farms"

    def ready(self) -> None:
        from accounts.registries import farms_seen, people_seen
        from core.base.registries import (
            PLATFORM,
            NoticeType,
            SystemFigure,
            activity_sections,
            expiry_steps,
            notice_types,
            system_figures,
        )
        from core.delivery import templates
        from farms import messages, notices, reports, selectors
        from farms.services import invitations

        farms_seen.register("farms", selectors.is_of)
        people_seen.register("farms", selectors.farmers_of)
        templates.register(*messages.TEMPLATES)
        notice_types.register("high_mortality", NoticeType(notices.told_of_mortality, notices.high_mortality))
        notice_types.register("stale_applications", NoticeType(PLATFORM, notices.stale_applications))
        activity_sections.register("production", reports.production)
        activity_sections.register("farm", reports.course)
        expiry_steps.register("farm_invitations", invitations.expire)
        system_figures.register("farms", SystemFigure(selectors.farms_by_status, of_now=True))
        system_figures.register("flocks", SystemFigure(selectors.active_flocks, of_now=True))
