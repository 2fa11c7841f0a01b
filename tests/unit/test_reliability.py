"""The arithmetic of the faults' report: a judge that overlooks something would make every row a lie."""

from __future__ import annotations

import math

from tests.lab.faults.evidence import Claim, View, agreed_since, begun_again, rivals_until, running_at, runs_told
from tests.lab.faults.row import Row, merged, span
from tests.lab.faults.soak import Sample, slopes
from tests.lab.history import Event, History

TWO = ("a", "b")


def view(at_s: float, host: str, coordinator: str | None = "a", term: int = 1, deputies: int = 1) -> View:
    return View(at_s, host, coordinator, term, TWO, deputies, 0, 0)


def history(*events: Event) -> History:
    made = History([])
    made.events = sorted(events)
    return made


def test_nodes_agree_from_the_last_view_that_made_them_agree() -> None:
    assert agreed_since([view(1, "a"), view(2, "b"), view(3, "a", term=2), view(5, "b", term=2)], TWO) == 5
    assert agreed_since([view(1, "a"), view(2, "b"), view(2.5, "b")], TWO) == 2


def test_nodes_that_see_different_coordinators_or_none_or_no_deputy_do_not_agree() -> None:
    assert agreed_since([view(1, "a"), view(2, "b", "b")], TWO) is None
    assert agreed_since([view(1, "a", None), view(2, "b", None)], TWO) is None
    assert agreed_since([view(1, "a", deputies=0), view(2, "b", deputies=0)], TWO) is None
    assert agreed_since([view(1, "a")], TWO) is None


def test_rivals_are_counted_until_the_first_of_two_gives_up() -> None:
    said = [Claim(1, "a", "a"), Claim(2, "b", "a"), Claim(3, "b", "b"), Claim(7.5, "a", "b")]
    assert rivals_until(said, 5) == 2.5
    assert rivals_until(said[:2], 5) == 0
    assert rivals_until(said[:3], 5) == math.inf


def test_what_ran_at_a_moment_and_began_again_is_found() -> None:
    made = history(Event(1, "start", 1), Event(1, "start", 2), Event(2, "finish", 2), Event(4, "start", 1), Event(4, "start", 3))
    assert running_at(made, 3) == {1}
    assert begun_again(made, {1}, 3) == {1: 4}


def test_rows_of_one_fault_add_up_and_keep_what_any_of_them_broke() -> None:
    total = merged([Row("1", "t", tasks=10, pauses_s=[1.0]), Row("1", "t", tasks=5, lost=1, pauses_s=[3.0], broken=["kept"])])
    assert (total.runs, total.tasks, total.lost, total.pauses_s, total.broken) == (2, 15, 1, [1.0, 3.0], ["kept"])
    assert span(total.pauses_s) == "1.00 / 3.00"


def test_a_leak_shows_as_a_slope_once_the_process_is_warm() -> None:
    leaking = [Sample(5.0 * n, "a", 1, 50 + n / 72, 20, 3 + n / 72) for n in range(200)]  # 72 samples in six minutes: 10 MB/h
    young = [Sample(5.0 * n, "b", 2, 50, 20, 3) for n in range(20)]
    (slope,) = slopes([*leaking, *young])
    assert (round(slope.rss_mb_per_h), round(slope.rss_late_mb_per_h), round(slope.disk_mb_per_h)) == (10, 10, 10)
    assert slope.files_per_h == 0


def test_noise_of_a_short_run_is_no_leak_and_real_growth_is() -> None:
    noise = [Sample(5.0 * n, "a", 1, 50 + n / 720, 40 + n // 160, 3) for n in range(200)]
    leaking = [Sample(5.0 * n, "a", 1, 50 + n / 10, 40 + n // 20, 3 + n / 10) for n in range(200)]
    assert slopes(noise)[0].leaks() == []
    told = [leak.partition(" without slope:")[0] for leak in slopes(leaking)[0].leaks()]
    assert told == ["memory", "open files", "disk"]


def test_tables_that_fill_up_at_first_are_no_leak() -> None:
    filling = [Sample(5.0 * n, "a", 1, 50 + min(n, 200) / 20, 40, 3) for n in range(700)]
    (slope,) = slopes(filling)
    assert slope.rss_mb_per_h > 5
    assert slope.leaks() == []


def test_of_tasks_that_ran_twice_it_is_told_where_and_when() -> None:
    made = history(
        Event(1.5, "start", 1, "server"), Event(2, "finish", 1, "server"), Event(2.25, "start", 1, "laptop"), Event(3, "start", 2)
    )
    assert runs_told(made, [1], 1.0) == [
        "1 begun more than once, times in seconds after 1970-01-01T00:00:01.000+00:00",
        "task-1: start on server +0.500, finish on server +1.000, start on laptop +1.250",
    ]
    assert runs_told(made, [], 1.0) == []
