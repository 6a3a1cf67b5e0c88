"""Run the command that the arguments give; where GOLF_LAUNCHER_PID is set, it names this process."""

import os
import subprocess
import sys

from golf.distributed.launcher import LAUNCHER_PID_ENV

if __name__ == "__main__":
    if LAUNCHER_PID_ENV in os.environ:
        os.environ[LAUNCHER_PID_ENV] = str(os.getpid())
    subprocess.run(sys.argv[1:], check=False)
