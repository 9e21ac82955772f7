"""The admin pages of accounts. What they do goes through the services; who may is for the policy to say."""

from accounts.admin import invitations, people, records

__all__ = ["invitations", "people", "records"]
