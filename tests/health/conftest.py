"""A Redis of this package's own, as the ledger's tests have, and a sandbox for what beat sends by itself."""

from __future__ import annotations

from tests.delivery.conftest import impatient, network, sandbox
from tests.jobs.conftest import doorbell, no_context, private_redis

__all__ = ["doorbell", "impatient", "network", "no_context", "private_redis", "sandbox"]
