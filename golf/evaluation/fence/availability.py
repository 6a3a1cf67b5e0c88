"""Raise the fence in a process of its own, to see which restrictions this machine has."""

import json
import os
import subprocess
import sys
from pathlib import Path

from golf.errors import UnavailableError
from golf.evaluation.fence.landlock import FileRights
from golf.evaluation.fence.restrictions import Fence, FenceRecord

__all__ = ["find_restrictions", "main"]

_TIMEOUT_S = 60.0
_ROOT = Path(__file__).resolve().parents[3]  # the folder of golf/


def find_restrictions() -> FenceRecord:
    """Return the restrictions that a predictor's process would have here, and why others are missing.

    Raises UnavailableError when the process does not answer.
    """
    environment = os.environ | {"PYTHONPATH": str(_ROOT)}
    command = [sys.executable, "-m", __name__]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, check=True, timeout=_TIMEOUT_S, encoding="utf-8"
        )
        return FenceRecord.from_payload(json.loads(done.stdout))
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or [f"exit status {error.returncode}"])[-1]
        raise UnavailableError(f"the process that raises the fence failed: {reason}") from None
    except (subprocess.TimeoutExpired, ValueError) as error:
        raise UnavailableError(f"the process that raises the fence gave no answer: {error}") from None


def main() -> None:
    """Raise the fence here and print its record."""
    fence = Fence(FileRights(readable=("/",)), FileRights())
    fence.limit_files()
    print(json.dumps(fence.refuse_calls().to_payload()))


if __name__ == "__main__":
    main()
