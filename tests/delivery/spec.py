"""What domain.md 4.6.2 says, written down a second time: the tests hold the code against it."""

ENDS = "delivered undelivered_temporary undelivered_permanent outcome_unknown"
MAY_BECOME = {
    "queued": "held suppressed claimed expired dead",
    "held": "queued suppressed expired",
    "suppressed": "",
    "claimed": "submitting queued",
    "submitting": "accepted rejected queued in_doubt dead",
    "accepted": ENDS,
    "in_doubt": f"accepted queued {ENDS}",
    "rejected": "",
    "expired": "",
    "dead": "queued",
    **dict.fromkeys(ENDS.split(), ""),
}
# "claimed / submitting" is one line of the table: taking and writing the attempt is one transaction.
IN_ONE_STEP = {("queued", "submitting")}
ALLOWED = {(before, after) for before, line in MAY_BECOME.items() for after in line.split()} | IN_ONE_STEP
