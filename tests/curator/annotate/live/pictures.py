"""Pictures for people to look at: drawn, previewed, and served as `annotate start` serves them."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvicorn
from PIL import Image, ImageDraw

from curator.annotate.label_studio.labeling_page import prediction, task_data
from curator.annotate.previews.make import make_preview, preview_folder
from curator.annotate.previews.serve import app
from curator.secret_files import load_key
from tests.curator.annotate.previews.signed_url import signed_url

COLOURS = ("firebrick", "seagreen", "royalblue", "goldenrod", "purple", "teal", "chocolate", "slategray")


class Pictures:
    """A server of previews on a free port, and tasks that show them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.previews = preview_folder(folder / "lab.duckdb")
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(app(self.previews), log_level="warning", lifespan="off"))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        self._thread.start()
        while not self._server.started:
            time.sleep(0.02)

    def stop(self) -> None:
        """No more pictures."""
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(10)
        self._socket.close()

    def task(self, number: int, caption: str, size: tuple[int, int] = (900, 700), days: float = 90) -> dict[str, Any]:
        """A task with a caption proposed."""
        path = self.folder / f"{number}.png"
        picture = Image.new("RGB", size, "white")
        ImageDraw.Draw(picture).ellipse((60, 60, size[0] - 60, size[1] - 60), fill=COLOURS[number % len(COLOURS)])
        picture.save(path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        make_preview(path, sha256, self.previews)
        url = signed_url(self.url, sha256, datetime.now(UTC) + timedelta(days=days), load_key(self.previews))
        metadata = {"title": f"Ellipse {number}", "colour": COLOURS[number % len(COLOURS)], "license": "CC0"}
        data = task_data(url, sha256, "shapes", path.name, metadata, {"blip@1": "a circle", "tags@1": "round, plain"})
        return {"data": data, "predictions": [prediction(caption, "shapes/template@1")]}
