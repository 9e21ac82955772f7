from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
    label = "accounts"
    verbose_name = "Accounts"

    def ready(self) -> None:
        from accounts import selectors
        from core.base.registries import PLATFORM, SystemFigure, audiences, system_figures

        audiences.register(PLATFORM, selectors.platform_admins)
        system_figures.register("users", SystemFigure(selectors.users_by_level, of_now=True))
