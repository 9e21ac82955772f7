"""The project and its machinery. Importing it makes the Celery app the current one, as Celery's Django guide says."""

from core.celery import app as celery_app

__all__ = ["celery_app"]
