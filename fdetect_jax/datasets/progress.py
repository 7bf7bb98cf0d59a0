"""Progress of a long job, as a bar on a terminal and as lines elsewhere; and the reasons for what was refused."""

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
_EVERY = 30.0  # seconds between two lines


def watched(items: Iterable[T], done: int, total: int, what: str, unit: str) -> Iterator[T]:
    """The items, while their number, speed and remaining time are shown on stderr.

    Args:
        done: how many of ``total`` were finished before. what, unit: names of the job and of an item.
    """
    if sys.stderr.isatty():
        yield from tqdm(items, desc=what, unit=unit, initial=done, total=total, dynamic_ncols=True)
        return
    begin = last = time.monotonic()
    for number, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last > _EVERY:
            last = now
            line = tqdm.format_meter(done + number, total, now - begin, unit=unit, prefix=what, initial=done, ncols=0)
            print(line, file=sys.stderr, flush=True)


def reasons(refused: Sequence[dict[str, str]]) -> str:
    """The five most common ``reason`` of rows with their counts, or "none"."""
    counts = Counter(row["reason"] for row in refused)
    return ", ".join(f"{reason}: {count}" for reason, count in counts.most_common(5)) or "none"
