"""A thread that does what would hold up the loop that listens: one thing after another.

Its queue is short. What does not fit is refused at once rather than done late.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Task = TypeVar("Task")


class Worker(Generic[Task]):
    """Does tasks in a thread of its own, which starts with the first of them."""

    def __init__(
        self, name: str, do: Callable[[Task], None], capacity: int, say: Callable[[str], None]
    ) -> None:
        """`do`: may take its time; `capacity`: tasks at hand, the one being done among them."""
        self._name = name
        self._do = do
        self._say = say
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(capacity)
        self._thread: threading.Thread | None = None

    def offer(self, task: Task) -> bool:
        """Takes a task, and returns at once. Returns False, and forgets it, when there is no room.

        Raises RuntimeError when the system has no thread left.
        """
        if not self._room.acquire(blocking=False):
            return False
        if self._thread is None:
            # A daemon thread: one that hangs must not keep the process from its end.
            thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError:
                self._room.release()
                raise
            self._thread = thread
        self._tasks.put(task)
        return True

    def close(self, timeout: float) -> bool:
        """Ends it after the tasks at hand; returns whether they were done within `timeout` s."""
        if self._thread is None:
            return True
        self._tasks.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                self._do(task)
            except Exception as error:  # the next task may succeed
                self._say(f"{self._name} failed ({error!r})")
            self._room.release()
