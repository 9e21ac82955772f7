from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
    label = "accounts"
    verbose_name = "Accounts"

    def ready(self) -> None:
        from allauth.account.models import EmailAddress
        from allauth.mfa.models import Authenticator
        from allauth.usersessions.models import UserSession
        from django.contrib import admin

        from accounts import messages, notices, selectors
        from accounts.services import expiry, sign_in
        from core.base.registries import (
            PLATFORM,
            SEND_BULK_SMS,
            USERS,
            ChainedTable,
            NoticeType,
            PeopleSource,
            SystemFigure,
            audiences,
            audiences_of_people,
            chained_tables,
            expiry_steps,
            notice_types,
            permissions,
            system_figures,
        )
        from core.delivery import templates

        audiences.register(PLATFORM, selectors.platform_admins)
        system_figures.register("users", SystemFigure(selectors.users_by_level, of_now=True))
        permissions.register(SEND_BULK_SMS, selectors.may_send_bulk_sms)
        audiences_of_people.register(
            USERS, PeopleSource(selectors.check_selection, selectors.count_selected, selectors.selected_people)
        )
        expiry_steps.register("invitations", expiry.expire_invitations)
        expiry_steps.register("sessions", expiry.delete_sessions)
        notice_types.register("security_event", NoticeType(PLATFORM, notices.security_event))
        expiry_steps.register("user_sessions", sign_in.forget_sessions)
        expiry_steps.register("trusted_devices", sign_in.forget_devices)
        templates.register(*messages.TEMPLATES)
        # Sessions and second factors are changed by accounts.services.sign_in, which says so; addresses are not kept.
        admin.site.unregister([EmailAddress, Authenticator, UserSession])
        places = ("old_region_id", "new_region_id", "old_constituency_id", "new_constituency_id")
        columns = ("id", "user_id", "old_role", "new_role", *places, "changed_by_id", "reason", "created_at")
        chained_tables.register("accounts_rolechange", ChainedTable(forms=(columns,)))
        chained_tables.register(
            "accounts_securityevent", ChainedTable(forms=(("id", "user_id", "kind", "actor_id", "ip", "device", "at"),))
        )
