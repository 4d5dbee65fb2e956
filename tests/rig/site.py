"""A web site of fixed pages, for real clients."""

from __future__ import annotations

import asyncio
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
