"""How passwords are kept."""

from __future__ import annotations

from django.contrib.auth.hashers import Argon2PasswordHasher


class Argon2(Argon2PasswordHasher):
    """Argon2id with the parameters OWASP recommends (19 MiB, two passes, one lane).

    Django's own take 100 MiB and eight lanes: too slow for a sign-in on a small machine, and eight at once need
    800 MiB. A hash made with other parameters is still read, and made anew at the next sign-in.
    """

    time_cost = 2
    memory_cost = 19 * 1024
    parallelism = 1
