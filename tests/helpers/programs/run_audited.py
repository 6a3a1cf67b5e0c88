"""Run code under an access audit and print the report as JSON. Arguments: code, allowed folder, readable folders.

The code gets the folders as sys.argv[1:].
"""

import json
import os
import pathlib
import socket
import subprocess
import sys

from golf.evaluation.sandbox.access_audit import AccessAudit

if __name__ == "__main__":
    code = sys.argv.pop(1)
    audit = AccessAudit(
        sys.argv[2:], [sys.argv[1]], ["gcc"], imported=[path for path in sys.argv[2:] if path.endswith("corpus")]
    )
    audit.install()
    exec(code, {"os": os, "pathlib": pathlib, "socket": socket, "subprocess": subprocess, "sys": sys})
    print(json.dumps(audit.report()))
