"""Records in Redis: a string for each document, a sorted set for each place."""

from collections.abc import Callable

import redis

from fdetect_jax.errors import UserError
from fdetect_jax.service.records import Document, Records, decoded, encoded, moved

_DOCUMENT, _PLACE = "fdetect:document:", "fdetect:place:"


class RedisRecords(Records):
    """See ``Records``. A change is a transaction that is tried again where another one came first."""

    def __init__(self, url: str):
        self._redis = redis.Redis.from_url(url, health_check_interval=30, socket_timeout=30)
        try:
            self._redis.ping()
        except redis.RedisError as error:
            raise UserError(f"queue: Redis cannot be used: {' '.join(str(error).split())}") from None

    def get(self, name: str) -> Document | None:
        return decoded(self._redis.get(_DOCUMENT + name))

    def change(self, name: str, function: Callable[[Document | None], Document | None]) -> Document | None:
        key = _DOCUMENT + name
        while True:
            with self._redis.pipeline() as pipe:
                pipe.watch(key)
                before = decoded(pipe.get(key))
                after = function(before)
                pipe.multi()
                if after is None:
                    pipe.delete(key)
                elif after != before:
                    pipe.set(key, encoded(after))
                for place, number in moved(before, after):
                    if number is None:
                        pipe.zrem(_PLACE + place, name)
                    else:
                        pipe.zadd(_PLACE + place, {name: number})
                try:
                    pipe.execute()
                except redis.WatchError:
                    continue
                return after

    def names(
        self, place: str, low: float | None = None, high: float | None = None, limit: int = 1000, newest: bool = False
    ) -> list[tuple[str, float]]:
        low, high = "-inf" if low is None else low, "+inf" if high is None else high
        how = {"start": 0, "num": limit, "withscores": True}
        if newest:
            found = self._redis.zrevrangebyscore(_PLACE + place, high, low, **how)
        else:
            found = self._redis.zrangebyscore(_PLACE + place, low, high, **how)
        return [(name.decode(), float(number)) for name, number in found]

    def count(self, place: str, *, high: float | None = None) -> int:
        return self._redis.zcount(_PLACE + place, "-inf", "+inf" if high is None else high)

    def close(self) -> None:
        self._redis.close()
