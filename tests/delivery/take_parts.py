"""A process that takes parts from the bucket, as bulk does, and says when: take_parts <provider> <limit> <seconds>."""

import sys
import time

import django

if __name__ == "__main__":
    django.setup()
    from core.delivery import bucket

    provider, limit, ends = sys.argv[1], int(sys.argv[2]), time.time() + float(sys.argv[3])
    while (now := time.time()) < ends:
        parts, wait = bucket.room(provider, "bulk", limit)
        if parts:
            granted = bucket.take(provider, "bulk", [1] * parts, limit)
            print(time.time(), granted.go, flush=True)
        time.sleep(min(max(wait, 0.005), ends - now))
