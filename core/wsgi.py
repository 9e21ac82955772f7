"""The web process. In production it refuses to start with settings that are unsafe (core/checks.py)."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "core.settings")

application = get_wsgi_application()

from core.checks import refuse_unsafe_start  # noqa: E402 - after Django is set up

refuse_unsafe_start()
