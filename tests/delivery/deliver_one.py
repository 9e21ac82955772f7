"""A process that delivers one message, to be killed in the middle: python -m tests.delivery.deliver_one <id>."""

import sys
import uuid

import django

if __name__ == "__main__":
    django.setup()
    from core.delivery import dispatch

    dispatch.deliver(uuid.UUID(sys.argv[1]))
