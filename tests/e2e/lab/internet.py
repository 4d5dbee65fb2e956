"""The internet of the tests: one process that answers on every IPv4 address there is, and writes down all it saw.

Run inside a network namespace whose routing table makes every address local (``ip route add local 0.0.0.0/0 dev lo``), so a packet
that escapes to 1.1.1.1 is not only lost, it is *seen*. One JSON object a line on standard output:
``{"what": "http" | "https" | "dns" | "udp" | "tcp", "from": address, "name": ..., "to": ...}``.

Arguments: CERT KEY. With ``--resolver ADDRESS`` it is the host's name server instead (what systemd-resolved is on many machines).
"""

from __future__ import annotations

import http.server
import json
import socket
import ssl
import struct
import sys
import threading

WEB = "93.184.215.14"  # what every name below points to
ZONES = ("example.com", "example.net", "example.org")
REBINDING = {
    "metadata.example.net": "169.254.169.254",
    "loopback.example.net": "127.0.0.1",
    "private.example.net": "10.213.0.1",
}
RESOLVERS = ("1.1.1.1", "8.8.8.8", "9.9.9.9", WEB)
ECHO_PORTS = (443, 9999)
_lock = threading.Lock()


def saw(what: str, source: str, name: str, to: str = "") -> None:
    with _lock:
        print(json.dumps({"what": what, "from": source, "name": name, "to": to}), flush=True)


class Page(http.server.BaseHTTPRequestHandler):
    """Answers every GET with what it was asked, so a test can tell who answered."""

    protocol_version = "HTTP/1.1"
    scheme = "http"

    def do_GET(self) -> None:
        saw(self.scheme, self.client_address[0], self.headers.get("Host", ""), self.connection.getsockname()[0])
        body = f"fake-internet {self.scheme} {self.headers.get('Host')} {self.path}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class SecurePage(Page):
    scheme = "https"


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A probe that connects and leaves has been seen all the same."""
        saw("tcp", str(client_address), "", "")


def serve_web(port: int, context: ssl.SSLContext | None) -> None:
    server = Server(("0.0.0.0", port), SecurePage if context else Page, bind_and_activate=False)
    server.allow_reuse_address = True
    server.request_queue_size = 64
    server.server_bind()
    server.server_activate()
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


def answer(query: bytes) -> tuple[str, bytes]:
    """The name that was asked and the reply: `WEB` for A in a known zone, an empty answer for other types, else NXDOMAIN."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("latin-1"))
        at += query[at] + 1
    name = ".".join(labels).lower()
    question = query[12 : at + 5]
    qtype = struct.unpack(">H", query[at + 1 : at + 3])[0]
    known = any(name == zone or name.endswith("." + zone) for zone in ZONES)
    record = (
        struct.pack(">HHHIH", 0xC00C, 1, 1, 30, 4) + socket.inet_aton(REBINDING.get(name, WEB))
        if known and qtype == 1
        else b""
    )
    head = query[:2] + struct.pack(">HHHHH", 0x8180 if known else 0x8183, 1, bool(record), 0, 0)
    return name, head + question + record


def serve_dns(address: str) -> None:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 53))
    while True:
        query, source = server.recvfrom(4096)
        try:
            name, reply = answer(query)
        except (IndexError, struct.error):
            saw("dns", source[0], "<malformed>", address)
            continue
        saw("dns", source[0], name, address)
        server.sendto(reply, source)


def serve_echo(port: int) -> None:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((WEB, port))
    while True:
        data, source = server.recvfrom(4096)
        saw("udp", source[0], data[:40].decode("latin-1"), f"{WEB}:{port}")
        server.sendto(b"pong", source)


def main() -> None:
    if sys.argv[1] == "--resolver":
        print("ready", flush=True)
        serve_dns(sys.argv[2])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1], sys.argv[2])
    parts = [(serve_web, (80, None)), (serve_web, (443, context)), (serve_web, (8099, None))]
    parts += [(serve_dns, (address,)) for address in RESOLVERS] + [(serve_echo, (port,)) for port in ECHO_PORTS]
    for target, arguments in parts:
        threading.Thread(target=target, args=arguments, daemon=True).start()
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
