"""As sitecustomize.py: Ctrl-C on the terminal, SIGINT to the whole process group, while a stage writes an artifact."""

import os
import signal
import sys


def interrupt(event: str, arguments: tuple) -> None:
    if event == "tempfile.mkstemp" and ".partial" in str(arguments[0]) and "/stages/" in sys.argv[0]:
        os.killpg(0, signal.SIGINT)


sys.addaudithook(interrupt)
