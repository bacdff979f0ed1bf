"""What outlives a killed process goes with it."""

import subprocess
import sys
import time
from pathlib import Path

from retake.session import kill_session, session_pids

# a leader that holds out against SIGTERM, and a grandchild in a group of its own, as Ray's are
LEADER = """
import os, signal, subprocess, sys, time
from storage.embedded.process_folders import make_folder
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
child = "import subprocess, time; subprocess.Popen(%r, process_group=0); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", child % sleeper])
print(make_folder(), flush=True)
time.sleep(600)
"""


def test_a_session_is_killed_with_its_folder() -> None:
    leader = subprocess.Popen(
        [sys.executable, "-c", LEADER], stdout=subprocess.PIPE, start_new_session=True
    )
    with leader:
        assert leader.stdout is not None
        folder = Path(leader.stdout.readline().decode().strip())
        assert folder.is_dir()
        while len(list(session_pids(leader.pid))) < 3:
            time.sleep(0.01)
        leader.terminate()
        kill_session(leader)
        assert list(session_pids(leader.pid)) == []
        assert not folder.exists()
