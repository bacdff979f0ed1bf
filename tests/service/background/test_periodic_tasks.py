"""PeriodicTasks end with their process, whatever a client makes of being cancelled."""

import asyncio

from redis.exceptions import TimeoutError as RedisTimeout

from service.background.periodic_tasks import PeriodicTasks


async def test_a_cancellation_that_gets_lost_is_repeated() -> None:
    begun = asyncio.Event()

    async def reads() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise RedisTimeout from None  # as a client whose own time-out fires just then

    tasks = PeriodicTasks([reads])
    tasks.start()
    await begun.wait()
    async with asyncio.timeout(10):
        await tasks.stop()
