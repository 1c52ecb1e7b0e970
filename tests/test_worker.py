"""The thread that does one thing after another."""

import threading
import time

import pytest

from device.worker import Worker


def test_it_does_what_fits_in_turn_and_refuses_the_rest() -> None:
    go, done = threading.Event(), []

    def do(task: int) -> None:
        go.wait(5)
        done.append(task)

    worker = Worker("the worker", do, 2, pytest.fail)
    began = time.monotonic()
    assert [worker.offer(task) for task in range(4)] == [True, True, False, False]
    assert time.monotonic() - began < 0.1
    go.set()
    assert worker.close(5)
    assert done == [0, 1]


def test_an_error_is_said_and_the_next_task_done() -> None:
    said: list[str] = []
    done: list[int] = []

    def do(task: int) -> None:
        if task == 0:
            raise ValueError("nought")
        done.append(task)

    worker = Worker("the worker", do, 5, said.append)
    worker.offer(0)
    worker.offer(1)
    assert worker.close(5)
    assert said == ["the worker failed (ValueError('nought'))"]
    assert done == [1]


def test_one_that_hangs_is_left_behind() -> None:
    go = threading.Event()
    worker = Worker("the worker", lambda task: go.wait(30), 1, pytest.fail)
    worker.offer(0)
    began = time.monotonic()
    assert not worker.close(0.1)
    assert time.monotonic() - began < 1
    go.set()


def test_without_a_task_there_is_no_thread() -> None:
    before = threading.active_count()
    worker: Worker[int] = Worker("the worker", lambda task: None, 1, pytest.fail)
    assert threading.active_count() == before
    assert worker.close(0)
