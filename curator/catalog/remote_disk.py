"""Requests to a remote service beside catalog queries: image files, and facts about its disk.

All requests may be repeated: an image is named by its content, and nothing is sent twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from curator.catalog.remote import ConnectionBroke, Service, ServiceBusy
from schemas.edge.retry import retried

if TYPE_CHECKING:
    import httpx

# Between tries while the service has as many requests in hand as it takes, or the network fails.
WAITS_SECONDS = (0.2, 0.5, 1.0, 2.0, 4.0)


class RemoteDisk:
    """A service on another machine."""

    def __init__(self, service: Service) -> None:
        self._service, self.name = service, service.name

    def picture(self, sha256: str) -> bytes:
        """Return an image's bytes. Raises NotFound or ChecksumMismatch if the service's file is gone or changed."""
        return self._sent("GET", f"/images/{sha256}").content

    def most_bytes(self) -> int:
        """Return the largest file that the service accepts. Raises ServiceFailed if the caller may not send any."""
        return int(self._sent("GET", "/uploads").json()["max_bytes"])

    def lacking(self, images: Sequence[str]) -> list[str]:
        """Return the SHA-256 of images that were never uploaded."""
        found: list[str] = self._sent("POST", "/uploads/lacking", json={"images": list(images)}).json()["lacking"]
        return found

    def upload(self, sha256: str, content: bytes) -> None:
        """Send an image's bytes. Raises the service's error."""
        headers = {"Content-Type": "application/octet-stream"}
        self._sent("PUT", f"/uploads/{sha256}", content=content, headers=headers)

    def files_state(self, dataset: str) -> dict[str, Any]:
        """Return a dataset's number of `files`, and lists of `missing` and `changed` paths."""
        found: dict[str, Any] = self._sent("GET", "/disk/files", params={"dataset": dataset}).json()
        return found

    def previews_key(self) -> str:
        """Return the id of the key that signs the addresses of previews."""
        return str(self._sent("GET", "/disk/previews").json()["key_id"])

    def previews(self, images: Sequence[str], make: bool) -> Mapping[str, Any]:
        """Return the images `lacking` a preview; with `make`, make them and return the reasons of `failed` ones."""
        found: dict[str, Any] = self._sent("POST", "/disk/previews", json={"images": list(images), "make": make}).json()
        return found

    def signatures(self, images: Sequence[tuple[str, int]]) -> list[str]:
        """Return the signatures of preview addresses that are valid until a time, in seconds since 1970."""
        wanted = [{"image": image, "expires": expires} for image, expires in images]
        found: list[str] = self._sent("POST", "/disk/signatures", json={"addresses": wanted}).json()["signatures"]
        return found

    def _sent(self, method: str, path: str, **content: Any) -> httpx.Response:
        return retried(
            lambda: self._service.sent(method, path, **content),
            lambda error: isinstance(error, ConnectionBroke | ServiceBusy),
            WAITS_SECONDS,
        )
