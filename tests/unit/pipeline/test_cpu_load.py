"""golf/pipeline/cpu_load.py"""

import os
import threading

import pytest
import torch

from golf.pipeline import cpu_load
from golf.pipeline.cpu_load import CpuLoadMonitor, CpuTimes


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(cpu_load, "_get_own_cpus", lambda: {0, 1})


def make_monitor(*readings: CpuTimes | None, **options) -> CpuLoadMonitor:
    """A monitor that is not started, on a machine that reads so, one after another."""
    remaining = iter(readings)
    return CpuLoadMonitor("train", read=lambda: next(remaining), **options)


def test_times_are_those_of_the_cores_that_the_process_may_use(tmp_path, monkeypatch):
    ticks = os.sysconf("SC_CLK_TCK")
    stat = tmp_path / "stat"
    stat.write_text(
        f"cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 {ticks} {ticks} {ticks} 7 7 {ticks} {ticks} {ticks} 0 0\n"
        f"cpu1 {90 * ticks} 0 0 0 0 0 0 0 0 0\n\nintr 5 6\n"
    )
    monkeypatch.setattr(cpu_load, "_get_own_cpus", lambda: {0})
    assert cpu_load.read_cpu_times(stat).busy_s == 6, "idle and waiting for a disk are not work"
    assert cpu_load.read_cpu_times(tmp_path / "absent") is None
    monkeypatch.setattr(cpu_load, "_get_own_cpus", lambda: {0, 2})
    assert cpu_load.read_cpu_times(stat) is None


def test_own_work_and_that_of_children_is_not_that_of_others():
    before = cpu_load.read_cpu_times()
    if before is None:
        pytest.skip("this system does not tell its processor times")
    sum(range(10_000_000))
    after = cpu_load.read_cpu_times()
    assert after.own_s > before.own_s
    assert CpuTimes(0, 0, 0).count_cores_used_by_others(CpuTimes(10, 20, 5)) == 1.5
    assert CpuTimes(0, 0, 0).count_cores_used_by_others(CpuTimes(10, 5, 5.1)) == 0, "the two clocks differ by a tick"


def test_a_busy_machine_is_named_once_and_in_the_record(two_cores, capsys):
    monitor = make_monitor(
        CpuTimes(0, 0, 0), CpuTimes(3, 3, 3), CpuTimes(6, 9, 6), CpuTimes(9, 15, 9), CpuTimes(9, 15, 9)
    )
    monitor.check()
    assert capsys.readouterr().err == ""
    monitor.check()
    monitor.check()
    assert capsys.readouterr().err == "train     this machine is busy: 1.0 of 2 cores are used by other processes\n"
    text = "this machine was busy: on average 0.7 of 2 cores were used by other processes"
    assert monitor.summary() == {"cores": 2, "used_by_others": 0.67, "warning": text}
    assert capsys.readouterr().err == f"train     {text}\n"


def test_a_quiet_machine_and_one_that_does_not_tell_are_not_named(two_cores, capsys):
    quiet = make_monitor(CpuTimes(0, 0, 0), CpuTimes(10, 14, 11), CpuTimes(10, 14, 11))
    quiet.check()
    assert quiet.summary() == {"cores": 2, "used_by_others": 0.3}
    silent = make_monitor(None, None, None)
    with silent:
        silent.check()
    assert silent.summary() == {}
    assert capsys.readouterr().err == ""


def test_threads_give_way_while_the_machine_is_busy_and_no_longer(two_cores, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    others = set(threading.enumerate())
    busy_then_quiet = CpuTimes(0, 0, 0), CpuTimes(3, 6, 3), CpuTimes(6, 12, 6), CpuTimes(9, 15, 9)
    monitor = make_monitor(*busy_then_quiet, quiet=True)
    n_holders = []
    for _ in range(3):
        monitor.check()
        n_holders.append(len(set(threading.enumerate()) - others))
    assert n_holders == [1, 1, 0]


@pytest.mark.parametrize(("n_cores", "n_threads", "n_holders"), [(2, 2, 1), (8, 4, 2), (64, 2, 16), (8, 1, 0)])
def test_the_holders_teams_and_torchs_threads_are_more_than_the_cores(monkeypatch, n_cores, n_threads, n_holders):
    """As far as 16 holders go. One thread never waits for another."""
    monkeypatch.setattr(cpu_load, "_get_own_cpus", lambda: set(range(n_cores)))
    monkeypatch.setattr(torch, "get_num_threads", lambda: n_threads)
    threads = cpu_load.OversubscribedThreads()
    threads.hold()
    assert len(threads._holders) == n_holders
    threads.release()
    assert not threads._holders


def test_the_monitor_checks_from_a_thread_and_ends_with_its_block(two_cores, capsys):
    checked = threading.Event()
    readings = [CpuTimes(0, 0, 0), CpuTimes(1, 2, 0)]

    def read() -> CpuTimes:
        if len(readings) == 1:
            checked.set()
            return readings[0]
        return readings.pop(0)

    before = threading.active_count()
    with CpuLoadMonitor("ema", read=read, interval_s=0.001):
        assert checked.wait(30)
    assert threading.active_count() == before
    assert "ema       this machine is busy: 2.0 of 2 cores" in capsys.readouterr().err
