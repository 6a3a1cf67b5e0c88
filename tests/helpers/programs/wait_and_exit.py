"""Wait, then exit. Arguments: the seconds, the exit code; and a file, for the id of a child that does the same."""

import subprocess
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    seconds, exit_code, *files = sys.argv[1:]
    for file in files:
        child = subprocess.Popen([sys.executable, __file__, seconds, exit_code])
        Path(file).write_text(str(child.pid), encoding="utf-8")
    time.sleep(float(seconds))
    sys.exit(int(exit_code))
