"""A process that works on one campaign, to be killed in the middle: python -m tests.delivery.work_on <id>."""

import sys

import django

if __name__ == "__main__":
    django.setup()
    from core.tasks import process_bulk_sms

    process_bulk_sms([], "", campaign_id=sys.argv[1])
