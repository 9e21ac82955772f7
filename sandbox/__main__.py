"""`python -m sandbox`: see sandbox/README.md."""

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from sandbox.app import Options, StartError, run


def _port(written: str) -> int:
    if not written.isascii() or not written.isdigit() or not 1 <= int(written[:9]) <= 65535:  # noqa: PLR2004
        raise argparse.ArgumentTypeError(f"a port is a whole number from 1 to 65535, not {written!r}")
    return int(written)


def _seconds(written: str) -> float:
    if not written.replace(".", "", 1).isdigit():
        raise argparse.ArgumentTypeError(f"seconds are a number like 1.5, not {written!r}")
    return float(written)


def read_options(arguments: list[str]) -> Options:
    """From the command line, else from the environment, else as documented. Ends the program at a bad value."""
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="A phone network and a mailbox.")

    def option(name: str, variable: str, default: str | None, kind: Callable[[str], object], about: str) -> None:
        value = os.environ.get(variable) or default
        parser.add_argument(name, type=kind, default=value, help=f"{about} ({variable}, default {default})")

    option("--host", "SANDBOX_HOST", "127.0.0.1", str, "address to listen on")
    option("--http-port", "SANDBOX_HTTP_PORT", "8025", _port, "Hubtel API, control API and page")
    option("--smtp-port", "SANDBOX_SMTP_PORT", "1025", _port, "SMTP")
    option("--control-port", "SANDBOX_CONTROL_PORT", None, _port, "control API and page once more, never refused")
    option("--data", "SANDBOX_DATA", "var/sandbox", Path, "folder of what was received")
    option("--deliver-after", "SANDBOX_DELIVER_AFTER", "1", _seconds, "seconds until a text is Delivered")
    option("--receipts-to", "SANDBOX_RECEIPTS_TO", "", str, "address that receipts are pushed to")
    return Options(**vars(parser.parse_args(arguments)))


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("mail.log").setLevel(logging.CRITICAL)  # aiosmtpd's own lines carry whole addresses
    options = read_options(sys.argv[1:])
    try:
        asyncio.run(run(options))
    except StartError as error:
        sys.stderr.write(f"sandbox: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
