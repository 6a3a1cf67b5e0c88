"""golf/evaluation/fence: every way out that is known, with and without each restriction, as root and as a plain user"""

import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from golf.evaluation.fence import landlock, seccomp
from golf.evaluation.fence.restrictions import FenceRecord
from tests.helpers.programs import try_escapes
from tests.helpers.tiny_corpus import ROOT

PLAIN_UID = 65534
UIDS = [0, PLAIN_UID] if os.getuid() == 0 else [os.getuid()]
OPEN_FILES = {"by_dir_fd", "by_ctypes_open", "by_hard_link", "by_proc_mem", "by_writing_outside"}
FILE_PROPERTIES = {"by_attribute", "by_times", "by_mode", "by_file_version", "by_file_flags", "by_project"}
OTHER_PROCESSES = {"by_priority", "by_io_priority", "by_affinity", "by_scheduler"}
LEAVE_NO_FILE = {"by_shared_memory", "by_daemon"} | FILE_PROPERTIES | OTHER_PROCESSES

pytestmark = pytest.mark.skipif(
    landlock.query_abi() < 1 or bool(seccomp.find_missing_support()), reason="needs a kernel with Landlock and seccomp"
)


@functools.cache
def try_escapes_behind(restrictions: str, uid: int) -> dict:
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        command = [sys.executable, try_escapes.__file__, f"{parent}/project", restrictions, str(uid)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)


def ways_that_work(restrictions: str, uid: int) -> set[str]:
    return {name for name, works in try_escapes_behind(restrictions, uid).items() if name != "record" and works}


@pytest.mark.parametrize("uid", UIDS)
@pytest.mark.parametrize("way", try_escapes.WAYS)
def test_a_way_out_works_without_the_fence_and_not_with_it(way, uid):
    assert try_escapes_behind("none", uid)[way] is True, "else the test would show nothing"
    assert try_escapes_behind("landlock,seccomp", uid)[way] is False


@pytest.mark.parametrize("uid", UIDS)
def test_landlock_closes_the_files_and_seccomp_what_leaves_no_file(uid):
    assert ways_that_work("seccomp", uid) == OPEN_FILES
    assert ways_that_work("landlock", uid) >= LEAVE_NO_FILE
    assert ways_that_work("landlock", uid).isdisjoint(OPEN_FILES)


@pytest.mark.parametrize("uid", UIDS)
def test_a_session_that_may_start_compilers_gets_no_further(uid):
    assert ways_that_work("landlock,seccomp,commands", uid) == set()


@pytest.mark.parametrize("uid", UIDS)
def test_the_record_names_the_restrictions_that_hold_and_why_others_do_not(uid):
    whole, without_landlock, without_seccomp = (
        FenceRecord.from_payload(try_escapes_behind(restrictions, uid)["record"])
        for restrictions in ("landlock,seccomp", "seccomp", "landlock")
    )
    landlock_restriction = f"Landlock (ABI {landlock.query_abi()})"
    assert whole == FenceRecord((landlock_restriction, "seccomp"), ())
    assert without_landlock == FenceRecord(("seccomp",), ("no Landlock (this kernel offers no Landlock)",))
    assert without_seccomp == FenceRecord((landlock_restriction,), ("no seccomp (refused)",))


@pytest.mark.parametrize(
    "payload",
    [None, [], {}, {"restrictions": [], "missing": [1]}, {"restrictions": "seccomp", "missing": []}],
)
def test_a_record_that_is_malformed_is_refused(payload):
    with pytest.raises(ValueError, match="not a fence record"):
        FenceRecord.from_payload(payload)


def test_a_restriction_holds_several_processes_if_it_holds_each():
    records = [FenceRecord(("a", "b"), ()), FenceRecord(("b",), ("no a",))]
    assert FenceRecord.combine(records) == FenceRecord(("b",), ("no a",))
