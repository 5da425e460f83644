"""What a caller on another machine asks of a service beside its queries: pictures' bytes, and what lies on its disk.

Every request here may be asked again: a picture is named by its content, and what is there already isn't sent twice.
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


class Distant:
    """A service on another machine."""

    def __init__(self, service: Service) -> None:
        self._service, self.name = service, service.name

    def picture(self, sha256: str) -> bytes:
        """The bytes of an image. Raises NotFound, ChecksumMismatch where the service's file is gone or another one."""
        return self._sent("GET", f"/images/{sha256}").content

    def most_bytes(self) -> int:
        """How large a file the service takes. Raises ServiceFailed where the caller may send none."""
        return int(self._sent("GET", "/uploads").json()["max_bytes"])

    def lacking(self, images: Sequence[str]) -> list[str]:
        """Those of these SHA-256 whose bytes were never uploaded."""
        found: list[str] = self._sent("POST", "/uploads/lacking", json={"images": list(images)}).json()["lacking"]
        return found

    def upload(self, sha256: str, content: bytes) -> None:
        """Sends an image's bytes. Raises what the service has against it."""
        headers = {"Content-Type": "application/octet-stream"}
        self._sent("PUT", f"/uploads/{sha256}", content=content, headers=headers)

    def files_state(self, dataset: str) -> dict[str, Any]:
        """What became of a dataset's `files` (how many) since the ingest: `missing`, `changed`, lists of paths."""
        found: dict[str, Any] = self._sent("GET", "/disk/files", params={"dataset": dataset}).json()
        return found

    def previews_key(self) -> str:
        """Names the key that the service signs addresses of previews with."""
        return str(self._sent("GET", "/disk/previews").json()["key_id"])

    def previews(self, images: Sequence[str], make: bool) -> Mapping[str, Any]:
        """`lacking`: those of these images that have no preview there; with `make` why, in `failed`, by image."""
        found: dict[str, Any] = self._sent("POST", "/disk/previews", json={"images": list(images), "make": make}).json()
        return found

    def signatures(self, images: Sequence[tuple[str, int]]) -> list[str]:
        """The signature for the address of each image's preview until a time, in seconds since 1970."""
        wanted = [{"image": image, "expires": expires} for image, expires in images]
        found: list[str] = self._sent("POST", "/disk/signatures", json={"addresses": wanted}).json()["signatures"]
        return found

    def _sent(self, method: str, path: str, **content: Any) -> httpx.Response:
        return retried(
            lambda: self._service.sent(method, path, **content),
            lambda error: isinstance(error, ConnectionBroke | ServiceBusy),
            WAITS_SECONDS,
        )
