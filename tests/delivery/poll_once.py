"""A process that asks once what became of messages, to be killed in the middle: python -m tests.delivery.poll_once."""

import django

if __name__ == "__main__":
    django.setup()
    from core.delivery import receipts

    receipts.poll(seconds=1)
