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

from golf.data.hub import Remote
from golf.ground.errors import BadArtifact, BadInput, Unavailable
from golf.ground.sections import Hub

ENDPOINT = "https://huggingface.co"
TIMEOUT_S = 30.0  # for the listing
TRIES, PAUSE_S = 3, 1.0  # of a transfer that gets no further, beside the library's own five
COMMIT = re.compile("[0-9a-f]{40}")
LATER = "run fetch again: what came is kept"


class Stopped(Exception):
    """A transfer was asked to end."""


class Sink(io.FileIO):
    """A file that is appended to, whole pieces or an error, until ``stop`` is set."""

    def __init__(self, path: Path, stop: threading.Event):
        super().__init__(path, "ab")
        self.stop = stop

    def write(self, data) -> int:
        left = memoryview(data)
        while left:
            if self.stop.is_set():
                raise Stopped
            left = left[super().write(left) :]
        return len(data)


@dataclass(frozen=True)
class Repository:
    """A data set at one commit. files: by path."""

    repo: str
    endpoint: str
    commit: str
    files: dict[str, Remote]

    @classmethod
    def open(cls, hub: Hub) -> "Repository":
        """Raises BadInput for what hub names wrongly, Unavailable where nobody answers or the library is missing."""
        known = library()
        endpoint = os.environ.get("HF_ENDPOINT", ENDPOINT).rstrip("/")
        api = known.HfApi(endpoint=endpoint)
        with answering(f"{endpoint}/datasets/{hub.repo}", hub.repo, hub.revision):
            info = api.dataset_info(hub.repo, revision=hub.revision, files_metadata=True, timeout=TIMEOUT_S)
            files = [Remote(each.rfilename, each.size, each.lfs and each.lfs.sha256) for each in info.siblings]
            if not COMMIT.fullmatch(info.sha) or not all(isinstance(each.size, int) for each in files):
                raise TypeError("no commit, or a file without its size")
        return cls(hub.repo, endpoint, info.sha, {each.path: each for each in files})

    def transfer(self, remote: Remote, path: Path, stop: threading.Event) -> None:
        """Append to the file at ``path`` what it lacks of ``remote``; what came before an error stays there.

        Raises Stopped, BadArtifact when another number of bytes comes than is listed, OSError naming the file when it
        can't be written, and what ``open`` raises.
        """
        known, tries = library(), TRIES
        where = f"{self.repo}/{remote.path}"
        url = known.hf_hub_url(
            self.repo, remote.path, repo_type="dataset", revision=self.commit, endpoint=self.endpoint
        )
        headers = known.build_hf_headers()
        while True:
            have = path.stat().st_size if path.exists() else 0
            try:
                with Sink(path, stop) as sink, answering(url, self.repo, self.commit):
                    known.http_get(url, sink, resume_size=have, headers=headers, expected_size=remote.size)
                    return
            except Unavailable:
                tries = TRIES if path.stat().st_size > have else tries - 1
                if not tries or stop.wait(PAUSE_S):
                    raise
            except OSError as error:
                if error.errno is not None:
                    raise OSError(error.errno, error.strerror, str(path)) from None
                path.unlink()
                raise BadArtifact(
                    where, f"the hub lists {remote.size:,} bytes and sent another number", LATER
                ) from None


def library() -> SimpleNamespace:
    """What is used of huggingface_hub. Raises Unavailable where it is not installed."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # it looks when it is imported
    try:
        from huggingface_hub import HfApi, errors, hf_hub_url, utils
        from huggingface_hub.file_download import http_get
    except ImportError:
        raise Unavailable(
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
def answering(url: str, repo: str, revision: str):
    """Ask the hub for ``url``; what goes wrong becomes BadInput for a key to mend, or Unavailable."""
    errors = library().errors
    token = "with HF_TOKEN set to a token of yours, or choose another"
    try:
        yield
    except errors.HFValidationError as error:
        raise BadInput(f"hub.repo: {repo!r} is no owner/name of a data set ({str(error).splitlines()[0]})") from None
    except errors.GatedRepoError:
        raise BadInput(f"hub.repo: {repo} is gated; ask for access on its page, then run {token}") from None
    except errors.RepositoryNotFoundError:
        raise BadInput(f"hub.repo: {repo} is no data set at {url}, or a private one; run {token}") from None
    except errors.RevisionNotFoundError:
        raise BadInput(f"hub.revision: {revision} is no commit, branch or tag of {repo}; name one that is") from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise BadInput(f"hub.repo: {repo} is not for everybody ({status}); run {token}") from None
        if status == 404:
            raise BadInput(f"hub.repo: {url} is not there (404); try another hub.revision") from None
        raise Unavailable(f"hub.repo: {url} answers {status}; {LATER}") from None
    except errors.OfflineModeIsEnabled:
        raise Unavailable("fetch.source: hub is not to be had while HF_HUB_OFFLINE is set; unset it") from None
    except errors.HTTPError as error:
        why = str(error) or type(error).__name__
        raise Unavailable(f"hub.repo: {url} can't be reached ({why}); check the network, then {LATER}") from None
    except (ValueError, TypeError, KeyError) as error:
        raise Unavailable(f"hub.repo: {url} does not answer as a hub does ({error}); check HF_ENDPOINT") from None
