"""The product's settings, and one more module of tasks."""

from core.settings import *  # noqa: F403

CELERY_IMPORTS = ("tests.chaos.tasks",)
