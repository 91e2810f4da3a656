"""Stands in for NI's package where there is no device: same names and errors, and a file that notes every call.

Written from the documentation of nidaqmx 1.x (Task, do_channels.add_do_chan, write, close, System.local().devices).
NIDAQ_CALLS names the file; a file beside it, named like it with ``.fault``, makes the next write fail with its text.
"""

import json
import os
import time
from pathlib import Path

from nidaqmx.constants import LineGrouping
from nidaqmx.errors import DaqError, DaqNotFoundError

LINES = ("Dev1/port0/line0", "Dev1/port0/line1")


def note(call, **values):
    with Path(os.environ["NIDAQ_CALLS"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"call": call, "host_ns": time.perf_counter_ns(), **values}) + "\n")


class _Channels:
    def __init__(self, task):
        self._task = task

    def add_do_chan(self, lines, name_to_assign_to_lines="", line_grouping=LineGrouping.CHAN_FOR_ALL_LINES):
        assert isinstance(line_grouping, LineGrouping)
        if lines.lstrip("/") not in LINES:
            raise DaqError(f"Physical channel {lines} does not exist.", -200170)
        self._task.line = lines
        note("add_do_chan", line=lines)


class Task:
    def __init__(self, new_task_name=""):
        if "NIDAQ_CALLS" not in os.environ:
            raise DaqNotFoundError("Could not find an installation of NI-DAQmx.")
        self.line = None
        self.do_channels = _Channels(self)

    def write(self, data, auto_start=False, timeout=10.0):
        assert isinstance(data, bool)
        fault = Path(os.environ["NIDAQ_CALLS"] + ".fault")
        if fault.exists():
            raise DaqError(fault.read_text(encoding="utf-8"), -88705)
        assert auto_start, "on-demand writes need a started task: error -200846"
        note("write", line=self.line, high=data, timeout=timeout)
        return 1

    def close(self):
        note("close", line=self.line)
