"""Three lanes, one owner: priorities, cancelling, and results that come home."""

import subprocess
import sys
import textwrap
import threading
import time
from itertools import pairwise

import pytest

from napari_sam.engine import BACKGROUND, CLICK, DISPLAYED, SOON, Engine, SynchronousExecutor
from napari_sam.segmentation.protocol import Cancelled


class Gate:
    """Work that waits until it is let through, reporting progress meanwhile."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.started = threading.Event()
        self.runs = 0

    def __call__(self, report):
        self.runs += 1
        self.started.set()
        while not self.open.wait(0.002):
            report(0.5)
        return "done"


def test_results_come_home_to_the_owners_thread(engine):
    worked, reported = [], []
    engine.embed("a", lambda report: worked.append(threading.current_thread()), lambda o: None)
    engine.decode("b", lambda: None, lambda o: reported.append(threading.current_thread()))
    assert engine.wait(5)
    assert worked[0] is not threading.main_thread()
    assert reported[0] is threading.main_thread()


def test_errors_come_home_too(engine):
    outcomes = []
    engine.embed("a", lambda report: 1 / 0, outcomes.append)
    engine.decode("b", lambda: [][0], outcomes.append)
    assert engine.wait(5)
    assert {type(o.error) for o in outcomes} == {ZeroDivisionError, IndexError}


def test_notify_is_called_when_there_is_something_to_drain(engine):
    stated = threading.Event()
    loud = Engine(stated.set)
    loud.decode("a", lambda: 1, lambda o: None)
    assert stated.wait(5)
    loud.close()


def test_embeds_run_one_at_a_time_the_most_urgent_first(engine):
    gate, order = Gate(), []
    engine.embed("running", gate, lambda o: None)
    gate.started.wait(5)
    priorities = {"later": BACKGROUND, "next": SOON, "shown": DISPLAYED, "clicked": CLICK}
    for key, priority in priorities.items():
        engine.embed(key, lambda report, key=key: order.append(key), lambda o: None, priority)
    gate.open.set()
    assert engine.wait(5, background=True)
    assert order == ["clicked", "shown", "next", "later"]


def test_queued_key_only_rises_in_priority(engine):
    gate, order = Gate(), []
    engine.embed("running", gate, lambda o: None)
    gate.started.wait(5)
    engine.embed("a", lambda report: order.append("a"), lambda o: None, DISPLAYED)
    engine.embed("b", lambda report: order.append("b"), lambda o: None, BACKGROUND)
    engine.embed("b", lambda report: order.append("never"), lambda o: None, CLICK)
    gate.open.set()
    assert engine.wait(5)
    assert order == ["b", "a"]


@pytest.mark.parametrize(
    ("running", "other"),
    [(BACKGROUND, CLICK), (BACKGROUND, DISPLAYED), (BACKGROUND, SOON), (SOON, DISPLAYED)],
)
def test_running_embed_that_nobody_waits_for_gives_way_and_starts_again(engine, running, other):
    ahead, order = Gate(), []
    engine.embed("ahead", ahead, lambda o: order.append(o.value), running)
    ahead.started.wait(5)
    engine.embed("clicked", lambda report: order.append("clicked"), lambda o: None, other)
    deadline = time.monotonic() + 5
    while not order and time.monotonic() < deadline:
        engine.drain()
        time.sleep(0.005)
    assert order == ["clicked"]
    ahead.open.set()
    assert engine.wait(5, background=True)
    assert order == ["clicked", "done"]
    assert ahead.runs == 2


def test_embed_that_gives_way_and_is_asked_for_as_a_click_meanwhile_is_not_lost(engine):
    started, unwinding, go_on = threading.Event(), threading.Event(), threading.Event()
    outcomes, order = [], []

    def slow_to_end(report):
        if started.is_set():
            return order.append("clicked") or "answered"
        started.set()
        try:
            while True:
                time.sleep(0.001)
                report(0.5)
        finally:  # it has stopped, and the engine doesn't know yet
            unwinding.set()
            go_on.wait(5)

    engine.embed("plane", slow_to_end, outcomes.append, BACKGROUND)
    started.wait(5)
    engine.embed("other", lambda report: order.append("other"), lambda o: None, DISPLAYED)
    unwinding.wait(5)
    engine.embed("plane", slow_to_end, outcomes.append, CLICK)
    go_on.set()
    assert engine.wait(5)
    assert [o.value for o in outcomes] == ["answered"]
    assert order == ["clicked", "other"]


def test_embed_that_gives_way_and_is_cancelled_meanwhile_is_cancelled(engine):
    started, unwinding, go_on = threading.Event(), threading.Event(), threading.Event()
    outcomes = []

    def slow_to_end(report):
        started.set()
        try:
            while True:
                time.sleep(0.001)
                report(0.5)
        finally:
            unwinding.set()
            go_on.wait(5)

    engine.embed("plane", slow_to_end, outcomes.append, BACKGROUND)
    started.wait(5)
    engine.embed("other", lambda report: None, lambda o: None, DISPLAYED)
    unwinding.wait(5)
    engine.cancel("plane")
    go_on.set()
    assert engine.wait(5, background=True)
    assert [o.cancelled for o in outcomes] == [True]


def test_task_that_stops_by_itself_is_not_started_again(engine):
    outcomes = []

    def stops(report):
        raise Cancelled("by itself")

    engine.embed("a", stops, outcomes.append, BACKGROUND)
    assert engine.wait(5, background=True)
    assert [o.cancelled for o in outcomes] == [True]


def test_calls_left_after_one_that_fails_are_notified_again():
    reported, stated, gate = [], threading.Event(), Gate()
    engine = Engine(stated.set)
    engine.embed("running", gate, lambda o: None)
    gate.started.wait(5)
    engine.embed("a", lambda report: None, lambda o: 1 / 0)
    engine.embed("b", lambda report: None, reported.append)
    engine.cancel("a")
    engine.cancel("b")
    stated.clear()
    with pytest.raises(ZeroDivisionError):
        engine.drain()
    assert stated.is_set()
    engine.drain()
    assert [o.cancelled for o in reported] == [True]
    engine.close(5)


def test_running_embed_gives_no_way_to_its_equals(engine):
    ahead = Gate()
    engine.embed("ahead", ahead, lambda o: None, SOON)
    ahead.started.wait(5)
    engine.embed("other", lambda report: None, lambda o: None, SOON)
    ahead.open.set()
    assert engine.wait(5, background=True)
    assert ahead.runs == 1


def test_background_embed_that_becomes_wanted_no_longer_gives_way(engine):
    ahead = Gate()
    engine.embed("ahead", ahead, lambda o: None, BACKGROUND)
    ahead.started.wait(5)
    engine.embed("ahead", ahead, lambda o: None, CLICK)
    engine.embed("clicked", lambda report: None, lambda o: None, CLICK)
    ahead.open.set()
    assert engine.wait(5)
    assert ahead.runs == 1


def test_cancelled_embed_stops_at_its_next_report(engine):
    gate, outcomes = Gate(), []
    engine.embed("a", gate, outcomes.append)
    gate.started.wait(5)
    engine.cancel("a")
    assert engine.wait(5)
    assert outcomes[0].cancelled


def test_cancelling_all_empties_the_queue(engine):
    gate, outcomes, ran = Gate(), [], []
    engine.embed("a", gate, outcomes.append)
    gate.started.wait(5)
    engine.embed("b", lambda report: ran.append("b"), outcomes.append)
    engine.cancel()
    assert engine.wait(5)
    assert [o.cancelled for o in outcomes] == [True, True]
    assert not ran


def test_cancelled_key_can_be_asked_for_again_while_it_still_runs(engine):
    gate, outcomes = Gate(), []
    engine.embed("a", gate, outcomes.append)
    gate.started.wait(5)
    engine.cancel("a")
    engine.embed("a", lambda report: "again", outcomes.append)
    assert engine.wait(5)
    assert [o.value for o in outcomes] == [None, "again"]


def test_latest_decode_of_a_slot_wins(engine):
    busy, hold, reported = threading.Event(), threading.Event(), []
    engine.decode("busy", lambda: busy.set() or hold.wait(5), lambda o: None)
    assert busy.wait(5)  # otherwise the newest slot may overtake it
    for i in range(5):
        engine.decode("slot", lambda i=i: i, lambda o: reported.append(o.value))
    hold.set()
    assert engine.wait(5)
    assert reported == [4]


def test_decode_in_the_background_goes_only_when_no_other_waits(engine):
    busy, hold, order = threading.Event(), threading.Event(), []
    engine.decode("busy", lambda: busy.set() or hold.wait(5), lambda o: None)
    assert busy.wait(5)
    engine.decode("click", lambda: order.append("click"), lambda o: None)
    engine.decode("preview", lambda: order.append("preview"), lambda o: None, background=True)
    engine.decode("other click", lambda: order.append("other click"), lambda o: None)
    hold.set()
    assert engine.wait(5, background=True)
    assert order == ["other click", "click", "preview"]


def test_nobody_waits_for_a_decode_in_the_background(engine):
    started, hold = threading.Event(), threading.Event()
    engine.decode("preview", lambda: started.set() or hold.wait(5), lambda o: None, background=True)
    assert started.wait(5)
    assert engine.wait(0)
    assert not engine.wait(0, background=True)
    hold.set()
    assert engine.wait(5, background=True)


def test_latest_background_decode_wins_and_finished_ones_are_delivered(engine):
    started, hold, reported = threading.Event(), threading.Event(), []
    deliver = lambda outcome: reported.append(outcome.value)  # noqa: E731
    first = lambda: started.set() or (hold.wait(5) and "first")  # noqa: E731
    engine.decode("preview", first, deliver, background=True)
    assert started.wait(5)
    for i in range(5):
        engine.decode("preview", lambda i=i: i, deliver, background=True)
    hold.set()
    assert engine.wait(5, background=True)
    assert reported == ["first", 4]


def test_embed_makes_no_way_for_a_decode_in_the_background(engine, monkeypatch):
    monkeypatch.setattr("napari_sam.engine._LONGEST_PAUSE", 60.0)
    started, hold = threading.Event(), threading.Event()
    engine.decode("preview", lambda: started.set() or hold.wait(9), lambda o: None, background=True)
    assert started.wait(5)
    engine.embed("plane", lambda report: report(0.5), lambda o: None)
    assert engine.wait(5)
    hold.set()


def test_decode_never_waits_for_an_embed(engine):
    gate, reported = Gate(), threading.Event()
    engine.embed("slow", gate, lambda o: None)
    gate.started.wait(5)
    engine.decode("fast", reported.set, lambda o: None)
    assert reported.wait(5)
    assert not engine.wait(0.02)
    gate.open.set()
    assert engine.wait(5)


def test_neither_decode_nor_embed_waits_for_a_chore(engine):
    gate, reported = Gate(), []
    engine.chore("download", gate, reported.append)
    gate.started.wait(5)
    clicked, embedded = threading.Event(), threading.Event()
    engine.decode("click", clicked.set, lambda o: None)
    engine.embed("plane", lambda report: embedded.set(), lambda o: None, BACKGROUND)
    assert clicked.wait(5)
    assert embedded.wait(5)
    assert not reported
    gate.open.set()
    assert engine.wait(5)
    assert [o.value for o in reported] == ["done"]


def test_chore_waits_neither_for_an_embed_nor_for_a_chore_of_another_key(engine):
    embed, download, reported = Gate(), Gate(), threading.Event()
    engine.embed("plane", embed, lambda o: None)
    engine.chore("download", download, lambda o: None)
    download.started.wait(5)
    engine.chore("search", lambda report: reported.set(), lambda o: None)
    assert reported.wait(5)
    embed.open.set()
    download.open.set()
    assert engine.wait(5)


def test_chore_takes_the_place_of_one_of_its_key_when_that_has_stopped(engine):
    stubborn, running, outcomes = threading.Event(), [], []

    def first(report):
        running.append("first")
        stubborn.wait(5)
        running.remove("first")
        report(1.0)

    def last(report):
        return list(running)

    engine.chore("a", first, outcomes.append)
    engine.chore("a", lambda report: running.append("never"), outcomes.append)
    engine.chore("a", last, outcomes.append)
    stubborn.set()
    assert engine.wait(5)
    assert [o.cancelled for o in outcomes] == [True, True, False]
    assert outcomes[-1].value == []


def test_cancelled_chore_stops_at_its_next_report(engine):
    gate, other, outcomes = Gate(), Gate(), []
    engine.chore("a", gate, outcomes.append)
    engine.chore("b", other, lambda o: None)
    gate.started.wait(5)
    engine.cancel("a")
    other.open.set()
    assert engine.wait(5)
    assert [o.cancelled for o in outcomes] == [True]


def test_cancel_without_a_key_stops_chores_too(engine):
    gate, outcomes = Gate(), []
    engine.chore("a", gate, outcomes.append)
    gate.started.wait(5)
    engine.cancel()
    assert engine.wait(5)
    assert [o.cancelled for o in outcomes] == [True]


def test_progress_of_a_chore_comes_home_to_the_owners_thread(engine):
    reported = []

    def task(report):
        report(0.25)

    engine.chore(
        "a", task, lambda o: None, lambda x: reported.append((x, threading.current_thread()))
    )
    assert engine.wait(5)
    assert reported == [(0.25, threading.main_thread())]


def test_wait_counts_a_chore_that_nobody_waits_for_only_when_asked(engine):
    gate = Gate()
    engine.chore("a", gate, lambda o: None, awaited=False)
    assert engine.wait(5)
    assert not engine.wait(0.02, background=True)
    gate.open.set()
    assert engine.wait(5, background=True)


def test_threads_of_chores_end_with_them(engine):
    for i in range(20):
        engine.chore(i, lambda report: None, lambda o: None)
    assert engine.wait(5)
    deadline = time.monotonic() + 5
    while any(t.name == "napari-sam chore" for t in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_progress_is_reported_in_order_and_not_flooded(engine):
    reported, ready = [], threading.Event()

    def task(report):
        for i in range(1000):
            report(i / 1000)
        ready.set()

    engine.embed("a", task, lambda o: None, progress=reported.append)
    ready.wait(5)
    assert engine.wait(5)
    assert len(reported) == 1
    assert all(a <= b for a, b in pairwise(reported))


def test_wait_counts_background_work_only_when_asked(engine):
    gate = Gate()
    engine.embed("ahead", gate, lambda o: None, BACKGROUND)
    assert engine.wait(5)
    assert not engine.wait(0.02, background=True)
    gate.open.set()
    assert engine.wait(5, background=True)


def test_closed_engine_delivers_nothing_and_its_threads_end():
    engine, gate, outcomes = Engine(), Gate(), []
    chore = Gate()
    engine.embed("a", gate, outcomes.append)
    engine.decode("b", lambda: 1, outcomes.append)
    engine.chore("d", chore, outcomes.append)
    gate.started.wait(5)
    chore.started.wait(5)
    engine.close(5)
    engine.embed("c", gate, outcomes.append)
    engine.chore("e", gate, outcomes.append)
    engine.drain()
    names = {thread.name for thread in threading.enumerate()}
    assert not outcomes
    assert not names & {"napari-sam embed", "napari-sam chore"}


@pytest.mark.parametrize("lane", ["embed", "chore"])
def test_interpreter_ends_cleanly_while_something_runs(lane):
    script = f"""
        import time
        from napari_sam.engine import Engine
        def slow(report):
            while True:
                time.sleep(0.2)
                report(0)
        Engine().{lane}("a", slow, print)
        time.sleep(0.1)
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_synchronous_executor_never_nests_callbacks():
    executor, order = SynchronousExecutor(), []

    def first(outcome):
        executor.decode("b", lambda: "second", lambda o: order.append(o.value))
        order.append(outcome.value)

    executor.embed("a", lambda report: "first", first)
    assert order == ["first", "second"]
    assert executor.wait()


def test_synchronous_executor_replaces_a_chore_that_waits():
    executor, reported = SynchronousExecutor(), []

    def queue_two(outcome):
        reported.append(outcome.value)
        executor.chore("b", lambda report: "never", reported.append)
        executor.chore("b", lambda report: "second", lambda o: reported.append(o.value))

    executor.chore("a", lambda report: "first", queue_two)
    first, cancelled, second = reported
    assert (first, cancelled.cancelled, second) == ("first", True, "second")


def test_synchronous_executor_runs_what_is_queued_twice_once():
    executor, order = SynchronousExecutor(), []

    def queue_more(outcome):
        for _ in range(2):
            executor.embed("b", lambda report: order.append("b"), lambda o: None)
            executor.decode("slot", lambda: order.append("slot"), lambda o: None)
            executor.embed("c", lambda report: order.append("c"), lambda o: order.append(o))
        executor.cancel("c")
        assert not executor.wait()

    executor.embed("a", lambda report: None, queue_more)
    assert [o for o in order if isinstance(o, str)] == ["b", "slot"]
    assert order[-1].cancelled


def test_what_a_call_raises_without_threads_leaves_nothing_behind():
    executor, reported = SynchronousExecutor(), []

    def fail(outcome):
        executor.decode("after", lambda: 2, lambda after: reported.append(after.value))
        raise ValueError("a listener's own fault")

    with pytest.raises(ValueError, match="own fault"):
        executor.decode("first", lambda: 1, fail)
    assert not reported
    assert executor.wait()
    assert reported == [2]


def test_synchronous_executor_runs_what_is_in_the_background_last():
    executor, order = SynchronousExecutor(), []

    def queue_more(outcome):
        executor.decode("preview", lambda: order.append("preview"), lambda o: None, background=True)
        executor.decode("click", lambda: order.append("click"), lambda o: None)

    executor.decode("first", lambda: None, queue_more)
    assert order == ["click", "preview"]
