"""A listening port that can be closed for a while, so that callers are truly refused, and opens again by itself."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger("sandbox.listener")

REOPEN_EVERY = 0.2


class Listener:
    """`start` opens the port and raises OSError; `on_close` and `on_open` are told of every refusal."""

    def __init__(
        self,
        name: str,
        start: Callable[[], Awaitable[asyncio.Server]],
        *,
        on_close: Callable[[], None] = lambda: None,
        on_open: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self._start, self._on_close, self._on_open = start, on_close, on_open
        self._server: asyncio.Server | None = None
        self._waiting: asyncio.Task[None] | None = None

    async def open(self) -> None:
        if self._server is None:
            self._server = await self._start()

    def close(self) -> None:
        if self._waiting:
            self._waiting.cancel()
            self._waiting = None
        if self._server:
            self._server.close()
            self._server = None

    async def refuse_for(self, seconds: float) -> None:
        """Refuse connections for so long from now; 0 ends a refusal and returns when the port is open again."""
        if not seconds and self._server is not None:
            return
        self.close()
        if seconds:
            self._on_close()
            log.info("the %s port refuses connections for %s s", self.name, seconds)
        self._waiting = asyncio.create_task(self._reopen_after(seconds))
        if not seconds:
            await asyncio.wait({self._waiting}, timeout=1)

    async def _reopen_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        while self._server is None:
            try:
                await self.open()
            except OSError as error:
                log.warning("the %s port cannot be opened again yet: %s", self.name, error)
                await asyncio.sleep(REOPEN_EVERY)
        log.info("the %s port takes connections again", self.name)
        self._on_open()
