"""Items that kill, hang or break their process are told of; the others are worked on, in order."""

import contextlib
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from itertools import count, islice
from pathlib import Path

import pytest

from fdetect_jax.media.isolated import Workers, run_isolated
from fdetect_jax.media.limits import Rejected, UnreadableMedia

_added = 0


def add(amount):
    global _added
    _added += amount


def work(item):
    match item:
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "vanish":
            os._exit(7)
        case "exit":
            sys.exit(3)
        case "hang":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(600)
        case "fail":
            raise KeyError("eyes")
        case "unreadable":
            raise UnreadableMedia("empty")
        case "huge":
            return bytes(50 << 20)
    return item, _added


def process_of(_):
    return os.getpid()


def _alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # An ended process whose new parent has not asked for it is still listed.
    stat = Path(f"/proc/{process}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def _run(items, seconds=60.0, workers=2, **options):
    return list(run_isolated(work, items, workers=workers, seconds=seconds, **options))


def _missing():
    raise FileNotFoundError("face.tflite")


def _die():
    os._exit(1)


def test_whatever_an_item_does_the_others_go_on_in_order():
    items = [0, "crash", 1, "hang", "fail", 2, "vanish", "unreadable", "exit", *range(3, 9)]
    found = _run(items, seconds=1.0)
    assert found == [
        (0, 0),
        Rejected("its process died (SIGSEGV)"),
        (1, 0),
        Rejected("took over 1 seconds"),
        Rejected("KeyError: 'eyes'"),
        (2, 0),
        Rejected("its process died (exit status 7)"),
        Rejected("empty"),
        Rejected("SystemExit: 3"),
        *((number, 0) for number in range(3, 9)),
    ]


def test_the_last_item_may_die_too(capfd):
    assert _run(["crash"], workers=1) == [Rejected("its process died (SIGSEGV)")]
    assert capfd.readouterr() == ("", "")


def test_the_initializer_runs_once_in_each_process():
    assert _run(range(20), initializer=add, initargs=(3,)) == [(number, 3) for number in range(20)]
    assert _added == 0  # not in this one


def test_processes_that_cannot_start_are_an_error_not_a_reason():
    with pytest.raises(RuntimeError, match=r"do not start: FileNotFoundError: face\.tflite"):
        _run([1, 2], initializer=_missing)
    with pytest.raises(RuntimeError, match="die without work"):
        _run([1, 2], initializer=_die)


def test_processes_that_are_killed_while_idle_are_replaced():
    results = run_isolated(process_of, range(30), workers=2, seconds=60.0)
    killed = {next(results)}
    time.sleep(0.5)  # those begun ahead are done
    for process in multiprocessing.active_children():
        killed.add(process.pid)
        process.kill()
    found = list(results)
    assert len(found) == 29
    assert all(isinstance(process, int) for process in found)
    assert set(found) - killed


def test_large_results_and_none_at_all():
    assert [len(one) for one in _run(["huge"] * 4)] == [50 << 20] * 4
    assert _run([]) == []


def test_items_are_drawn_as_they_are_needed_and_processes_end_with_the_generator():
    drawn = []
    items = (drawn.append(number) or number for number in count())
    results = run_isolated(process_of, items, workers=2, seconds=60.0)
    processes = set(islice(results, 10))
    assert os.getpid() not in processes
    assert len(drawn) < 30
    results.close()
    assert not any(map(_alive, processes))


def test_processes_end_with_a_parent_that_is_killed(tmp_path):
    script = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from fdetect_jax.media.isolated import Workers, run_isolated\nfrom test_isolated import *\n"
        "for pid in run_isolated(process_of, count(), workers=1, seconds=60.0): print(pid, flush=True)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    with parent:
        worker = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 20
    while _alive(worker):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_result_that_cannot_travel_is_an_error():
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        list(run_isolated(open, [os.devnull], workers=1, seconds=60.0))


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"seconds": 0.0}, {"seconds": float("nan")}])
def test_bounds(wrong):
    with pytest.raises(ValueError, match="workers, seconds: found"):
        _run([1], **wrong)


def test_no_more_items_are_begun_than_asked_for():
    drawn = []
    items = (drawn.append(number) or number for number in range(9))
    for done, _ in enumerate(run_isolated(process_of, items, workers=2, seconds=60.0, ahead=1), 1):
        assert len(drawn) <= done + 1
    assert drawn == list(range(9))


def test_processes_that_are_kept_serve_the_next_run():
    with contextlib.closing(Workers(process_of, workers=1, seconds=60.0, keep=True)) as workers:
        (first,) = set(workers.run(range(3)))
        assert _alive(first)
        assert set(workers.run(range(2))) == {first}
        early = workers.run(range(9))
        assert next(early) == first
        early.close()  # what is still to do would meet the next run
        assert not _alive(first)
        (second,) = set(workers.run(range(2)))
        assert second != first
        os.kill(second, signal.SIGKILL)  # while it waits, as the kernel does when memory runs out
        (third,) = {one for one in workers.run(range(2)) if not isinstance(one, Rejected)}
        assert third != second
    assert not _alive(third)
