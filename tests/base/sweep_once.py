"""A process that chains what waits, to be killed in the middle: python -m tests.base.sweep_once."""

import django

if __name__ == "__main__":
    django.setup()
    from core.base import chain

    chain.sweep()
