"""The only user of huggingface_hub: list a repository and transfer one file; its errors become golf's.

Transfers use its http_get. hf_hub_download and snapshot_download (2.4.0) delete a partial file when they are
interrupted, so a shard of 200 MB starts again at zero in the next process, and they do not check a file's sha256.
Telemetry and the library's own progress bars are off. HF_ENDPOINT and HF_TOKEN are read when a repository is opened.
"""

import contextlib
import io
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from golf.config.sections import HubConfig
from golf.data.hub.manifest import RemoteFile
from golf.errors import ArtifactError, InputError, UnavailableError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["RETRY_PAUSE_S", "Repository", "import_huggingface_hub"]

_DEFAULT_ENDPOINT = "https://huggingface.co"
_LISTING_TIMEOUT_S = 30.0
_MAX_TRIES = 3  # of a transfer that makes no progress; each try includes the library's own five
RETRY_PAUSE_S = 1.0
_COMMIT_PATTERN = re.compile("[0-9a-f]{40}")
_RETRY_HINT = "run fetch again: downloaded bytes are kept"


class _TransferCancelledError(Exception):
    """The stop event of a transfer was set."""


class _ResumableWriter(io.FileIO):
    """A file opened for appending. Every write is complete or raises; raises once the stop event is set."""

    def __init__(self, path: Path, stop_event: threading.Event) -> None:
        super().__init__(path, "ab")
        self._stop_event = stop_event

    def write(self, data: "ReadableBuffer") -> int:
        remaining = memoryview(data)
        n_bytes = len(remaining)
        while remaining:
            if self._stop_event.is_set():
                raise _TransferCancelledError
            remaining = remaining[super().write(remaining) :]
        return n_bytes


@dataclass(frozen=True)
class Repository:
    """A data set at one commit. files: by path."""

    repo: str
    endpoint: str
    commit: str
    files: dict[str, RemoteFile]

    @classmethod
    def open(cls, hub_cfg: HubConfig) -> "Repository":
        """List the repository at hub.revision, resolved to a commit.

        Raises InputError naming the key of ``hub`` to correct, UnavailableError when the hub can't be reached or
        huggingface_hub is not installed.
        """
        hf = import_huggingface_hub()
        endpoint = os.environ.get("HF_ENDPOINT", _DEFAULT_ENDPOINT).rstrip("/")
        api = hf.HfApi(endpoint=endpoint)
        with _translate_errors(f"{endpoint}/datasets/{hub_cfg.repo}", hub_cfg.repo, hub_cfg.revision):
            info = api.dataset_info(
                hub_cfg.repo, revision=hub_cfg.revision, files_metadata=True, timeout=_LISTING_TIMEOUT_S
            )
            files = [RemoteFile(file.rfilename, file.size, file.lfs and file.lfs.sha256) for file in info.siblings]
            if not _COMMIT_PATTERN.fullmatch(info.sha) or not all(isinstance(remote.size, int) for remote in files):
                raise TypeError("the answer has no commit, or a file without its size")
        return cls(hub_cfg.repo, endpoint, info.sha, {remote.path: remote for remote in files})

    def transfer(self, remote: RemoteFile, path: Path, stop_event: threading.Event) -> None:
        """Append the missing bytes of ``remote`` to the file at ``path``; bytes received before an error stay there.

        Raises _TransferCancelledError once ``stop_event`` is set, ArtifactError when the hub sends another number of
        bytes than it lists, OSError naming the file when it can't be written, and what ``open`` raises.
        """
        hf, tries_left = import_huggingface_hub(), _MAX_TRIES
        url = hf.hf_hub_url(self.repo, remote.path, repo_type="dataset", revision=self.commit, endpoint=self.endpoint)
        headers = hf.build_hf_headers()
        while True:
            resume_bytes = path.stat().st_size if path.exists() else 0
            try:
                with _ResumableWriter(path, stop_event) as writer, _translate_errors(url, self.repo, self.commit):
                    hf.http_get(url, writer, resume_size=resume_bytes, headers=headers, expected_size=remote.size)
                    return
            except UnavailableError:
                tries_left = _MAX_TRIES if path.stat().st_size > resume_bytes else tries_left - 1
                if not tries_left or stop_event.wait(RETRY_PAUSE_S):
                    raise
            except OSError as error:
                if error.errno is not None:
                    raise OSError(error.errno, error.strerror, str(path)) from None
                path.unlink()  # http_get reports a wrong size as an OSError without errno
                problem = f"the hub lists {remote.size:,} bytes and sent another number"
                raise ArtifactError(f"{self.repo}/{remote.path}", problem, _RETRY_HINT) from None


def import_huggingface_hub() -> SimpleNamespace:
    """Return the functions of huggingface_hub used here. Raises UnavailableError when it is not installed."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # must be set before the import
    try:
        from huggingface_hub import HfApi, errors, hf_hub_url, utils
        from huggingface_hub.file_download import http_get
    except ImportError:
        raise UnavailableError(
            "fetch.source: hub needs huggingface_hub, which is not installed; pip install -e '.[hub]', or set "
            "fetch.source: docs, stdlib or files"
        ) from None
    hf_utils: Any = utils  # these functions are re-exported without being declared
    hf_utils.disable_progress_bars()
    hf_utils.logging.set_verbosity_error()
    return SimpleNamespace(
        HfApi=HfApi,
        errors=errors,
        hf_hub_url=hf_hub_url,
        http_get=http_get,
        build_hf_headers=hf_utils.build_hf_headers,
    )


@contextlib.contextmanager
def _translate_errors(url: str, repo: str, revision: str) -> Iterator[None]:
    """Turn errors of requests to ``url`` into InputError naming the key to correct, or UnavailableError."""
    hf_errors = import_huggingface_hub().errors
    token_hint = "with HF_TOKEN set to your token, or choose another repository"
    try:
        yield
    except hf_errors.HFValidationError as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"hub.repo: {repo!r} is not an owner/name of a data set ({reason}); give owner/name") from None
    except hf_errors.GatedRepoError:
        raise InputError(f"hub.repo: {repo} is gated; ask for access on its page, then run {token_hint}") from None
    except hf_errors.RepositoryNotFoundError:
        raise InputError(f"hub.repo: no data set {repo} at {url}, or it is private; run {token_hint}") from None
    except hf_errors.RevisionNotFoundError:
        raise InputError(f"hub.revision: {revision} is not a commit, branch or tag of {repo}; name one") from None
    except hf_errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise InputError(f"hub.repo: access to {repo} is denied ({status}); run {token_hint}") from None
        if status == 404:
            raise InputError(f"hub.repo: {url} does not exist (404); try another hub.revision") from None
        raise UnavailableError(f"hub.repo: {url} answers {status}; {_RETRY_HINT}") from None
    except hf_errors.OfflineModeIsEnabled:
        raise UnavailableError("fetch.source: hub can't be used while HF_HUB_OFFLINE is set; unset it") from None
    except hf_errors.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise UnavailableError(
            f"hub.repo: {url} can't be reached ({reason}); check the network, then {_RETRY_HINT}"
        ) from None
    except (ValueError, TypeError, KeyError) as error:
        raise UnavailableError(f"hub.repo: {url} does not answer as a hub does ({error}); check HF_ENDPOINT") from None
