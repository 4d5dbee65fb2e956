"""A web site of fixed pages, for real clients."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Site:
    """Serves `pages` (path without query -> body) over HTTP/1.1 with keep-alive; `asked` keeps the paths."""

    def __init__(self, pages: dict[str, bytes]) -> None:
        self.pages = pages
        self.asked: list[str] = []

    @classmethod
    def of_folder(cls, folder: Path, prefix: str = "/") -> Site:
        files = [path for path in folder.rglob("*") if path.is_file()]
        return cls({prefix + str(path.relative_to(folder)): path.read_bytes() for path in files})

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, target, _ = head.split("\r\n", 1)[0].split(" ")
            path = target.partition("?")[0]
            self.asked.append(path)
            body = self.pages.get(path)
            status = "404 Not Found" if body is None else "200 OK"
            kind = "application/json" if (body or b"")[:1] == b"{" else "text/html"
            content = body or b""
            answer = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n".encode()
            writer.write(answer + (b"" if method == "HEAD" else content))
            await writer.drain()


@contextmanager
def threaded(address: str) -> Iterator[tuple[int, list[str]]]:
    """A site in threads of its own, for tests without a loop, that answers every GET with ``origin``: its port, and the paths asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "6")
            self.end_headers()
            self.wfile.write(b"origin")

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer((address, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield int(server.server_address[1]), asked
    finally:
        server.shutdown()
        server.server_close()
