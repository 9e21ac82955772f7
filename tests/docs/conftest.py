from tests.system.conftest import a_worker, empty_redis, sandbox

__all__ = ["a_worker", "empty_redis", "sandbox"]
