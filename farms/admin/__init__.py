"""The admin pages of farms. What they do goes through the services; who may is for the policy to say."""

from farms.admin import applications, batches, farms, production

__all__ = ["applications", "batches", "farms", "production"]
