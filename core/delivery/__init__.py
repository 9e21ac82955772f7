"""THE OUTBOX: every SMS and e-mail is a row before it is sent (design.md 5)."""
