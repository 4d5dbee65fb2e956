"""The programs measured side by side: how each is started, and what it is told to log."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from machine import HERE, HOST, LOAD_CORE, OUT, PROXY_CORE, Process, find, free_port


class Origin:
    """Where everything leads: the C origin, on the load's core."""

    def __init__(self, folder: Path) -> None:
        self.tls, self.http = free_port(), free_port()
        self.process = Process(
            "origin", [str(OUT / "origin"), str(self.tls), str(self.http)], LOAD_CORE, log=folder / "origin.txt"
        )
        self.process.wait_for(self.tls, self.http)


class Peer:
    """A proxy under test. `host`: the name it can resolve to this machine. `process` is None while it is not running."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = Path(tempfile.mkdtemp(prefix=f"{name.split()[0]}-", dir=folder))
        self.folder.chmod(0o777)  # squid drops its privileges before it opens its log
        self.port = free_port()
        self.host = HOST
        self.process: Process | None = None

    def start(self) -> None:
        self.process = Process(self.name, self.argv(), PROXY_CORE, log=self.folder / "output.txt")
        self.process.wait_for(self.port)

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop()
            self.process = None

    def argv(self) -> list[str]:
        raise AssertionError("each peer says how it is started")


class Kap(Peer):
    """kap's planes, audit log on. It answers DNS too: `dns_self`, `dns_forward`."""

    def __init__(self, folder: Path, origin: Origin, dns_upstream: int) -> None:
        super().__init__("kap (log)", folder)
        self.dns_self, self.dns_forward = free_port(), free_port()
        self._ports = [self.port, self.dns_self, self.dns_forward, dns_upstream, origin.tls, origin.http]

    def argv(self) -> list[str]:
        return [sys.executable, str(HERE / "kap_process.py"), *map(str, self._ports), str(self.folder / "events.jsonl")]


class Squid(Peer):
    """squid as a plain forward proxy: no cache, no TLS, one worker."""

    def __init__(self, folder: Path, *, log: bool) -> None:
        super().__init__(f"squid ({'log' if log else 'no log'})", folder)
        self._log = log

    def argv(self) -> list[str]:
        (self.folder / "hosts").write_text(f"127.0.0.1 {HOST}\n")
        access = f"stdio:{self.folder}/access.log squid" if self._log else "none"
        (self.folder / "squid.conf").write_text(
            f"http_port 127.0.0.1:{self.port}\nhosts_file {self.folder}/hosts\naccess_log {access}\ncache deny all\n"
            f"cache_log {self.folder}/cache.log\ncache_store_log none\npid_filename {self.folder}/squid.pid\n"
            f"coredump_dir {self.folder}\nhttp_access allow all\nshutdown_lifetime 0 seconds\nmax_filedescriptors 65536\n"
            "dns_nameservers 127.0.0.1\nvia off\nforwarded_for delete\nvisible_hostname bench\n"
        )
        return [find("squid") or "squid", "-N", "-f", str(self.folder / "squid.conf")]


class Tinyproxy(Peer):
    """tinyproxy; it asks the system's resolver, which knows ``localhost``."""

    def __init__(self, folder: Path, *, log: bool) -> None:
        super().__init__(f"tinyproxy ({'log' if log else 'no log'})", folder)
        self.host = "localhost"
        self._level = "Connect" if log else "Critical"

    def argv(self) -> list[str]:
        (self.folder / "tinyproxy.conf").write_text(
            f"Port {self.port}\nListen 127.0.0.1\nTimeout 600\nMaxClients 20000\nAllow 127.0.0.1\nDisableViaHeader Yes\n"
            f'LogFile "{self.folder}/access.log"\nLogLevel {self._level}\n'
        )
        return [find("tinyproxy") or "tinyproxy", "-d", "-c", str(self.folder / "tinyproxy.conf")]


def proxies(folder: Path, kap: Kap) -> list[Peer]:
    """kap and those of its peers that are installed, each with its access log on and off."""
    found: list[Peer] = [kap]
    if find("squid"):
        found += [Squid(folder, log=True), Squid(folder, log=False)]
    if find("tinyproxy"):
        found += [Tinyproxy(folder, log=True), Tinyproxy(folder, log=False)]
    return found


class Dnsmasq:
    """dnsmasq on a port of its own. `local`: it answers everything under ``names.bench.example`` itself; else it forwards to `upstream`
    without a cache."""

    def __init__(
        self, name: str, folder: Path, *, upstream: int = 0, log: bool = False, cores: set[int] = PROXY_CORE
    ) -> None:
        self.name = name
        self.port = free_port()
        argv = [
            find("dnsmasq") or "dnsmasq",
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            f"--port={self.port}",
            "--listen-address=127.0.0.1",
            "--bind-interfaces",
            "--no-resolv",
            "--no-hosts",
            "--user=",
            "--pid-file=",
            "--cache-size=0",
            "--dns-forward-max=4096",
        ]
        argv += (
            [f"--server=127.0.0.1#{upstream}"]
            if upstream
            else ["--address=/names.bench.example/10.9.8.7", "--local-ttl=60"]
        )
        if log:
            argv += ["--log-queries", f"--log-facility={folder / (name.replace(' ', '-') + '.log')}"]
        self.process = Process(name, argv, cores, log=folder / f"{name.replace(' ', '-')}.txt")
        self.process.wait_for(self.port)
