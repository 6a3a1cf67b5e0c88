"""The only door to huggingface_hub: what a repository holds, and the bytes of one file. All its errors end here.

Files come by its http_get and not by hf_hub_download: that one (2.4.0) throws away what it has of a file when it is
broken off. It tells nobody which program calls, shows no bar of its own, and HF_ENDPOINT and HF_TOKEN count when a
repository is opened.
"""

import contextlib
import io
import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from golf.config.sections import HubConfig
from golf.data.hub.manifest import RemoteFile
from golf.errors import ArtifactError, InputError, UnavailableError

_DEFAULT_ENDPOINT = "https://huggingface.co"
_LISTING_TIMEOUT_S = 30.0  # for the listing
_MAX_TRIES, RETRY_PAUSE_S = 3, 1.0  # of a transfer that gets no further, beside the library's own five
_COMMIT_PATTERN = re.compile("[0-9a-f]{40}")
_RETRY_HINT = "run fetch again: what came is kept"


class _TransferCancelledError(Exception):
    """A transfer was asked to end."""


class _ResumableWriter(io.FileIO):
    """A file that is appended to, whole pieces or an error, until ``stop`` is set."""

    def __init__(self, path: Path, stop_event: threading.Event):
        super().__init__(path, "ab")
        self._stop_event = stop_event

    def write(self, data) -> int:
        remaining = memoryview(data)
        while remaining:
            if self._stop_event.is_set():
                raise _TransferCancelledError
            remaining = remaining[super().write(remaining) :]
        return len(data)


@dataclass(frozen=True)
class Repository:
    """A data set at one commit. files: by path."""

    repo: str
    endpoint: str
    commit: str
    files: dict[str, RemoteFile]

    @classmethod
    def open(cls, hub_cfg: HubConfig) -> "Repository":
        """Raises BadInput for what hub names wrongly, Unavailable where nobody answers or the library is missing."""
        hf = import_huggingface_hub()
        endpoint = os.environ.get("HF_ENDPOINT", _DEFAULT_ENDPOINT).rstrip("/")
        api = hf.HfApi(endpoint=endpoint)
        with _translate_errors(f"{endpoint}/datasets/{hub_cfg.repo}", hub_cfg.repo, hub_cfg.revision):
            info = api.dataset_info(
                hub_cfg.repo, revision=hub_cfg.revision, files_metadata=True, timeout=_LISTING_TIMEOUT_S
            )
            files = [RemoteFile(file.rfilename, file.size, file.lfs and file.lfs.sha256) for file in info.siblings]
            if not _COMMIT_PATTERN.fullmatch(info.sha) or not all(isinstance(each.size, int) for each in files):
                raise TypeError("no commit, or a file without its size")
        return cls(hub_cfg.repo, endpoint, info.sha, {each.path: each for each in files})

    def transfer(self, remote: RemoteFile, path: Path, stop_event: threading.Event) -> None:
        """Append to the file at ``path`` what it lacks of ``remote``; what came before an error stays there.

        Raises Stopped, BadArtifact when another number of bytes comes than is listed, OSError naming the file when it
        can't be written, and what ``open`` raises.
        """
        hf, tries_left = import_huggingface_hub(), _MAX_TRIES
        location = f"{self.repo}/{remote.path}"
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
                path.unlink()
                raise ArtifactError(
                    location, f"the hub lists {remote.size:,} bytes and sent another number", _RETRY_HINT
                ) from None


def import_huggingface_hub() -> SimpleNamespace:
    """What is used of huggingface_hub. Raises Unavailable where it is not installed."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # it looks when it is imported
    try:
        from huggingface_hub import HfApi, errors, hf_hub_url, utils
        from huggingface_hub.file_download import http_get
    except ImportError:
        raise UnavailableError(
            "fetch.source: hub needs huggingface_hub, which is not installed; pip install -e '.[hub]', or set "
            "fetch.source: stdlib or files"
        ) from None
    utils.disable_progress_bars()
    utils.logging.set_verbosity_error()
    return SimpleNamespace(
        HfApi=HfApi,
        errors=errors,
        hf_hub_url=hf_hub_url,
        http_get=http_get,
        build_hf_headers=utils.build_hf_headers,
    )


@contextlib.contextmanager
def _translate_errors(url: str, repo: str, revision: str):
    """Ask the hub for ``url``; what goes wrong becomes BadInput for a key to mend, or Unavailable."""
    hf_errors = import_huggingface_hub().errors
    token_hint = "with HF_TOKEN set to a token of yours, or choose another"
    try:
        yield
    except hf_errors.HFValidationError as error:
        raise InputError(f"hub.repo: {repo!r} is no owner/name of a data set ({str(error).splitlines()[0]})") from None
    except hf_errors.GatedRepoError:
        raise InputError(f"hub.repo: {repo} is gated; ask for access on its page, then run {token_hint}") from None
    except hf_errors.RepositoryNotFoundError:
        raise InputError(f"hub.repo: {repo} is no data set at {url}, or a private one; run {token_hint}") from None
    except hf_errors.RevisionNotFoundError:
        raise InputError(f"hub.revision: {revision} is no commit, branch or tag of {repo}; name one that is") from None
    except hf_errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise InputError(f"hub.repo: {repo} is not for everybody ({status}); run {token_hint}") from None
        if status == 404:
            raise InputError(f"hub.repo: {url} is not there (404); try another hub.revision") from None
        raise UnavailableError(f"hub.repo: {url} answers {status}; {_RETRY_HINT}") from None
    except hf_errors.OfflineModeIsEnabled:
        raise UnavailableError("fetch.source: hub is not to be had while HF_HUB_OFFLINE is set; unset it") from None
    except hf_errors.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise UnavailableError(
            f"hub.repo: {url} can't be reached ({reason}); check the network, then {_RETRY_HINT}"
        ) from None
    except (ValueError, TypeError, KeyError) as error:
        raise UnavailableError(f"hub.repo: {url} does not answer as a hub does ({error}); check HF_ENDPOINT") from None
