"""Hold a file lock until standard input ends. Argument: the lock's path."""

import sys

from golf.pipeline import lock

if __name__ == "__main__":
    with lock.hold_file_lock(sys.argv[1]):
        print("held", flush=True)
        sys.stdin.read()
