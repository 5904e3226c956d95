"""A stop signal that travels down the tree of running states."""

import threading


class Stopped(Exception):
    """The work was told to stop; whoever told it has already recorded why."""


class StopSignal:
    """Set once; reaches every signal that was derived from it.

    One per execution, branch, iteration and task attempt, so that a failed branch stops its siblings and a stopped
    execution stops everything below it.
    """

    def __init__(self, parent=None):
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._callbacks = []
        if parent is not None:
            parent.call_when_set(self.set)

    def set(self):
        with self._lock:
            if self._event.is_set():
                return
            self._event.set()
            callbacks = list(self._callbacks)
        for callback in callbacks:
            callback()

    def is_set(self):
        return self._event.is_set()

    def call_when_set(self, callback):
        with self._lock:
            if not self._event.is_set():
                self._callbacks.append(callback)
                return
        callback()

    def check(self):
        if self._event.is_set():
            raise Stopped

    def sleep(self, seconds):
        """Sleeps; raises `Stopped` as soon as the signal is set."""
        if self._event.wait(max(0.0, seconds)):
            raise Stopped
