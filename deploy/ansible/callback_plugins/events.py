"""Writes each result of a playbook as a line of JSON to the file descriptor KWS_PI_EVENTS.

deploy/playbook.py reads them; what Ansible itself prints goes to a log.
"""

from __future__ import annotations

import json
import os
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
    name: events
    type: notification
    short_description: results as lines of JSON
    description: Writes each result as a line of JSON to a file descriptor.
    options: {}
"""

TOLD = ("msg", "stdout", "stderr", "rc", "changed", "module_stderr", "module_stdout")


class CallbackModule(CallbackBase):  # type: ignore[misc]
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "events"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        number = os.environ.get("KWS_PI_EVENTS", "")
        if number.isdigit():
            self._file = os.fdopen(int(number), "w", encoding="utf-8", buffering=1)
        else:
            self.disabled = True

    def _tell(self, kind: str, result: Any, ignored: bool = False) -> None:
        told = {key: result.result[key] for key in TOLD if key in result.result}
        line = {"kind": kind, "host": result.host.get_name(), "task": result.task.get_name()}
        self._file.write(json.dumps({**line, "ignored": ignored, **told}, default=str) + "\n")

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        line = {"kind": "start", "host": host.get_name(), "task": task.get_name()}
        self._file.write(json.dumps(line) + "\n")

    def v2_runner_on_ok(self, result: Any) -> None:
        self._tell("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._tell("failed", result, ignored=ignore_errors)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._tell("unreachable", result)
