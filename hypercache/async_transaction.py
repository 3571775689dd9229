"""A transaction that tasks of an event loop read and write in.

A transaction of a Cache belongs to one thread. Here that is the thread of the write
queue: it makes the calls that are sent to it until the block ends, while the writes of
all others wait in the queue behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import partial
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self

from hypercache.async_key_values import AsyncKeyValues, T
from hypercache.errors import TransactionError
from hypercache.key_value import KeyValues
from hypercache.reading import V
from hypercache.write_queue import Call, tell

IDLE_S = 0.5  # how long a block waits for a call before it looks after its loop
IDLE_COUNT = 2  # a loop that stands still at so many looks does not come back
# The cache, and what takes the call that runs the block.
Place = tuple[KeyValues[V], Callable[[Call], asyncio.Future[Any]]]
Enter = Callable[["AsyncTransaction[V]"], Awaitable[Place[V]]]

_open: ContextVar[tuple[AsyncTransaction[Any], ...]] = ContextVar("_open", default=())


class _RollBackError(Exception):
    """Ends a block that is not to be committed."""


class Block:
    """Make the calls of one block, and of blocks inside it, in their thread."""

    def __init__(self, cache: KeyValues[Any], calls: SimpleQueue[Call | bool]) -> None:
        self._cache = cache
        self._calls = calls

    def run(self, begun: Call) -> None:
        """Return when the block has ended, and raise what its commit raises."""
        try:
            with self._cache.transaction():
                tell([begun])
                self._serve(begun.loop)
        except _RollBackError:
            return

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            call = self._next(loop)
            if isinstance(call, Call):
                call.attempt()
                tell([call])
            elif call:
                return
            else:
                raise _RollBackError

    def _next(self, loop: asyncio.AbstractEventLoop) -> Call | bool:
        idle_count = 0
        while idle_count < IDLE_COUNT:
            with contextlib.suppress(Empty):
                return self._calls.get(timeout=IDLE_S)
            idle_count = 0 if loop.is_running() else idle_count + 1
        # Or all writers would wait for a task that is gone, and so would the end of
        # the interpreter.
        raise TransactionError(
            "the event loop has stopped inside a transaction; nothing was written"
        )


class AsyncTransaction(AsyncKeyValues[V]):
    """Read and write in a transaction; made by `transaction`, open inside its block.

    For the tasks of one event loop; of the blocks inside it one is open at a time.
    """

    def __init__(
        self, owner: object, enter: Enter[V], calls: SimpleQueue[Call | bool]
    ) -> None:
        self._owner, self._enter, self._calls = owner, enter, calls
        self._is_open = self._is_over = False
        self._inner: AsyncTransaction[V] | None = None

    def transaction(self) -> AsyncTransaction[V]:
        """Begin a block inside this one, which may fail without it.

        Raises:
            TransactionError: another one is open inside this one.
        """
        return AsyncTransaction(self._owner, self._enter_inner, self._calls)

    async def __aenter__(self) -> Self:
        self._cache, submit = await self._enter(self)
        await self._begin(submit)
        self._outside = _open.get()
        _open.set((*self._outside, self))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _open.set(self._outside)
        if self._is_open:
            await self._end(commits=error is None)
        elif error is None:
            raise TransactionError(
                "the transaction around this block has ended before it; nothing was "
                "written"
            )

    async def _enter_inner(self, inner: AsyncTransaction[V]) -> Place[V]:
        self._refuse_ended()
        if self._inner is not None and not self._inner._is_over:
            raise TransactionError(
                "a block inside this transaction is open already; wait for its end"
            )
        self._inner = inner
        return self._cache, self._submit

    async def _begin(self, submit: Callable[[Call], asyncio.Future[Any]]) -> None:
        """Wait until the block runs; one that is cancelled meanwhile does nothing."""
        begun = Call(_nothing)
        self._loop = begun.loop
        block = Block(self._cache, self._calls)
        self._ended = submit(Call(partial(block.run, begun), alone=True))
        self._ended.add_done_callback(_look_at)
        try:
            await asyncio.wait(
                (begun.future, self._ended), return_when=asyncio.FIRST_COMPLETED
            )
        except BaseException:
            self._leave(commits=False)
            raise
        if self._ended.done():
            self._is_over = True
            self._ended.result()  # raises why it did not begin
        self._is_open = not self._is_over

    async def _end(self, *, commits: bool) -> None:
        inner_is_over = self._inner is None or self._inner._is_over
        self._leave(commits=commits and inner_is_over)
        # Cancelled now, it ends all the same; only nobody learns how.
        await asyncio.shield(self._ended)
        if not inner_is_over:
            raise TransactionError(
                "a block inside this transaction was still open, in another task; "
                "nothing was written: wait for that task inside the block"
            )

    def _leave(self, *, commits: bool) -> None:
        """End the block, after those inside it; does not wait."""
        if not self._is_over:
            self._is_open, self._is_over = False, True
            if self._inner is not None:
                self._inner._leave(commits=False)
            self._calls.put(commits)

    def _submit(self, call: Call) -> asyncio.Future[Any]:
        self._refuse_ended()
        if call.loop is not self._loop:
            raise TransactionError("the transaction belongs to another event loop")
        self._calls.put(call)
        return call.future

    async def _send(self, run: Callable[[], Any]) -> Any:
        made = self._submit(Call(run))
        try:
            # Should the block have been given up, nobody makes the call any more.
            await asyncio.wait((made, self._ended), return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            made.cancel()
            raise
        if not made.done():
            self._is_open, self._is_over = False, True
            await self._ended
            self._refuse_ended()
        return await made

    def _refuse_ended(self) -> None:
        if not self._is_open:
            raise TransactionError("the transaction is not open; begin another one")

    async def _look(self, name: str, /, *args: Any) -> Any:
        return await self._write(name, *args)

    async def _read(self, run: Callable[[KeyValues[V]], T]) -> T:
        self._refuse_ended()  # before it has begun it knows no cache
        result: T = await self._send(partial(run, self._cache))
        return result

    async def _write(self, name: str, /, *args: Any, **options: Any) -> Any:
        self._refuse_ended()
        return await self._send(partial(getattr(self._cache, name), *args, **options))


def refuse_inside(owner: object) -> None:
    """Refuse a call that would wait for the transaction that it is made in.

    Raises:
        TransactionError: a transaction of this owner is open around the caller.
    """
    for transaction in _open.get():
        if transaction._is_open and transaction._owner is owner:
            raise TransactionError(
                "this call would wait for the transaction that it is made in: call "
                "the method of what `async with cache.transaction() as tx` gives, or "
                "make the call outside of the block"
            )


def _nothing() -> None:
    """Stand in for a call that only says that its block has begun."""


def _look_at(ended: asyncio.Future[Any]) -> None:
    # Of a block that nobody waits for any more the loop would say it went unnoticed.
    if not ended.cancelled():
        ended.exception()
