"""The errors of the house. Each carries a message a person can act on and no personal data."""

from __future__ import annotations


class DomainError(Exception):
    """A broken rule or refused input: permanent, no retry helps (domain.md C4). `status` is its HTTP answer."""

    status = 400


class InvalidInput(DomainError, ValueError):
    """An argument that cannot be used. Nothing was written."""


class NotFound(DomainError):
    """A named row does not exist."""

    status = 404


class NotAllowed(DomainError):
    """This person may not do this, or not to this subject. Nothing was written."""

    status = 403


class Conflict(DomainError):
    """It does not fit how things stand now. Nothing was written."""

    status = 409


class TemporaryError(Exception):
    """Something that may work later: the ledger tries again after about 60, 120 and 240 s."""
