"""Print the process id and wait for a minute, or until a parent that the process watches has ended."""

import os
import time

from golf.pipeline import signals

if __name__ == "__main__":
    signals.install_handlers()
    signals.exit_with_parent()
    print(os.getpid(), flush=True)
    time.sleep(60)
