"""Real clients through the plane, to origins on loopback: what is listed works, what is not fails and shows the code.

A client this machine does not have is skipped by its name.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import os
import shutil
import ssl
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

from rig.plane import EventList, plane_rig, policy_of
from rig.site import Site

pytestmark = pytest.mark.timeout(120)
PAGE = b"a page only the origin has\n"


class Net(NamedTuple):
    """`proxy`: the plane's port. `tls`, `plain`: the origins' ports. `near_tls`, `near_plain`: transparent listeners in front of them."""

    proxy: int
    tls: int
    plain: int
    near_tls: int
    near_plain: int
    site: Site
    ca: Path
    events: EventList
    home: Path

    @property
    def env(self) -> dict[str, str]:
        proxy = f"http://127.0.0.1:{self.proxy}"
        names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "SSL_CERT_FILE": str(self.ca),
            "LC_ALL": "C",
            **dict.fromkeys(names, proxy),
        }


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Net]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("allowed.test", "denied.test").configure_cert(context)
    names = {"allowed.test": ("127.0.0.1",), "denied.test": ("127.0.0.1",)}
    site = Site({"/": PAGE})
    async with plane_rig(names=names) as rig:
        tls, plain = await rig.origin(site, ssl=context), await rig.origin(site)
        rig.plane.apply(policy_of(f"allowed.test:{tls}/tls", f"allowed.test:{plain}/http"))
        (tmp_path / "home").mkdir()
        near_tls, near_plain = await rig.listen("tls", tls), await rig.listen("http", plain)
        proxy = await rig.listen()
        yield Net(proxy, tls, plain, near_tls, near_plain, site, tmp_path / "ca.pem", rig.events, tmp_path / "home")


class Ran(NamedTuple):
    code: int
    out: bytes
    err: str


async def run(net: Net, *argv: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> Ran:
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=net.env | (env or {}),
        cwd=cwd or net.home,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), 60)
    except TimeoutError:
        process.kill()
        raise
    return Ran(process.returncode or 0, out, err.decode("utf-8", "replace"))


def need(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not on this machine")
    return found


def refused(net: Net, host: str = "denied.test") -> None:
    """The last decision was a denial of `host`, and no origin was asked."""
    last = [event for event in net.events if event.kind == "decision"][-1]
    assert (last.code, last.host) == ("egress.not-listed", host)
    assert net.site.asked == []


async def test_curl_http(net: Net) -> None:
    curl = need("curl")
    ran = await run(net, curl, "-sS", f"http://allowed.test:{net.plain}/")
    assert (ran.code, ran.out) == (0, PAGE)
    net.site.asked.clear()
    ran = await run(net, curl, "-sS", f"http://denied.test:{net.plain}/")
    assert b"egress.not-listed" in ran.out
    refused(net)


async def test_curl_https(net: Net) -> None:
    curl = need("curl")
    ran = await run(net, curl, "-sS", "--cacert", str(net.ca), f"https://allowed.test:{net.tls}/")
    assert (ran.code, ran.out) == (0, PAGE)
    net.site.asked.clear()
    ran = await run(net, curl, "-v", "--cacert", str(net.ca), f"https://denied.test:{net.tls}/")
    assert ran.code != 0
    assert "403" in ran.err and "egress.not-listed" in ran.err
    refused(net)


async def test_curl_uploads_and_downloads_much(net: Net, tmp_path: Path) -> None:
    curl = need("curl")
    net.site.pages["/big"] = os.urandom(5_000_000)
    for url in (f"http://allowed.test:{net.plain}/big", f"https://allowed.test:{net.tls}/big"):
        ran = await run(net, curl, "-sS", "--cacert", str(net.ca), url)
        assert ran.out == net.site.pages["/big"]


async def test_curl_without_a_proxy(net: Net) -> None:
    """Transparent: the name resolves to kap, the ports are kap's."""
    curl = need("curl")
    base = [curl, "-sS", "--noproxy", "*", "--cacert", str(net.ca)]
    tls = ("--connect-to", f"::127.0.0.1:{net.near_tls}")
    plain = ("--connect-to", f"::127.0.0.1:{net.near_plain}")
    assert (await run(net, *base, *tls, f"https://allowed.test:{net.tls}/")).out == PAGE
    assert (await run(net, *base, *plain, f"http://allowed.test:{net.plain}/")).out == PAGE
    net.site.asked.clear()
    ran = await run(net, *base, *tls, f"https://denied.test:{net.tls}/")
    assert ran.code != 0 and "alert" in ran.err
    ran = await run(net, *base, *plain, f"http://denied.test:{net.plain}/")
    assert b"egress.not-listed" in ran.out
    refused(net)


async def test_git_over_https(net: Net, tmp_path: Path) -> None:
    git = need("git")
    env = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "GIT_SSL_CAINFO": str(net.ca)}
    work, bare = tmp_path / "work", tmp_path / "bare.git"
    who = ("-c", "user.name=n", "-c", "user.email=n@example.com", "-c", "commit.gpgsign=false")
    for argv in (
        (git, "init", "-q", str(work)),
        (git, "-C", str(work), *who, "commit", "-q", "--allow-empty", "-m", "the commit"),
        (git, "clone", "-q", "--bare", str(work), str(bare)),
        (git, "-C", str(bare), "update-server-info"),
    ):
        assert (await run(net, *argv, env=env)).code == 0
    net.site.pages |= Site.of_folder(bare, "/r.git/").pages
    ran = await run(net, git, "clone", "-q", f"https://allowed.test:{net.tls}/r.git", "copy", env=env)
    assert ran.code == 0, ran.err
    assert b"the commit" in (await run(net, git, "-C", "copy", "log", env=env)).out
    net.site.asked.clear()
    ran = await run(net, git, "clone", f"https://denied.test:{net.tls}/r.git", "other", env=env)
    assert ran.code != 0 and "403" in ran.err
    refused(net)


def wheel() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        info = "kaptiny-1.0.dist-info"
        archive.writestr("kaptiny.py", "")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: kaptiny\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return stream.getvalue()


async def pip_of(net: Net) -> tuple[str, ...]:
    for argv in ((sys.executable, "-m", "pip"), (shutil.which("pip") or "pip",), (shutil.which("pip3") or "pip3",)):
        try:
            if (await run(net, *argv, "--version")).code == 0:
                return argv
        except FileNotFoundError:
            continue
    pytest.skip("pip is not on this machine")


async def test_pip_download(net: Net) -> None:
    pip = await pip_of(net)
    name = "kaptiny-1.0-py3-none-any.whl"
    net.site.pages |= {f"/files/{name}": wheel(), "/simple/kaptiny/": f'<a href="/files/{name}">{name}</a>'.encode()}
    base = (
        "download",
        "--no-deps",
        "--disable-pip-version-check",
        "--retries",
        "1",
        "--cert",
        str(net.ca),
        "--index-url",
    )
    env = {"PIP_CONFIG_FILE": "/dev/null"}
    ran = await run(net, *pip, *base, f"https://allowed.test:{net.tls}/simple/", "kaptiny", env=env)
    assert ran.code == 0, ran.err
    assert (net.home / name).is_file()
    net.site.asked.clear()
    ran = await run(net, *pip, *base, f"https://denied.test:{net.tls}/simple/", "kaptiny", env=env)
    assert ran.code != 0
    assert "egress.not-listed" in ran.err + ran.out.decode()
    refused(net)


def npm_pages(base: str) -> dict[str, bytes]:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        content = json.dumps({"name": "kaptiny", "version": "1.0.0"}).encode()
        entry = tarfile.TarInfo("package/package.json")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    tarball = stream.getvalue()
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(tarball).digest()).decode()
    version = {"name": "kaptiny", "version": "1.0.0", "dist": {"tarball": f"{base}/t.tgz", "integrity": integrity}}
    packument = {"name": "kaptiny", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
    return {"/kaptiny": json.dumps(packument).encode(), "/t.tgz": tarball}


async def test_npm_pack(net: Net) -> None:
    npm = need("npm")
    base = f"https://allowed.test:{net.tls}"
    net.site.pages |= npm_pages(base)
    options = ("--cafile", str(net.ca), "--fetch-retries", "0", "--no-update-notifier", "--registry")
    ran = await run(net, npm, "pack", "kaptiny", *options, f"{base}/")
    assert ran.code == 0, ran.err
    assert (net.home / "kaptiny-1.0.0.tgz").is_file()
    net.site.asked.clear()
    ran = await run(net, npm, "pack", "kaptiny", *options, f"https://denied.test:{net.tls}/")
    assert ran.code != 0
    refused(net)


NODE = """
const [host, port, near] = process.argv.slice(2);
require("https").get({ host, port: near, servername: host, headers: { host: `${host}:${port}` },
  lookup: (name, options, done) => options.all ? done(null, [{ address: "127.0.0.1", family: 4 }]) : done(null, "127.0.0.1", 4),
}, (response) => response.pipe(process.stdout)).on("error", (error) => { console.error(error.message); process.exit(1); });
"""


async def test_node_without_a_proxy(net: Net, tmp_path: Path) -> None:
    node = need("node")
    env = {"NODE_EXTRA_CA_CERTS": str(net.ca)}
    script = tmp_path / "get.js"
    script.write_text(NODE)
    ran = await run(net, node, str(script), "allowed.test", str(net.tls), str(net.near_tls), env=env)
    assert ran.out == PAGE, ran.err
    net.site.asked.clear()
    ran = await run(net, node, str(script), "denied.test", str(net.tls), str(net.near_tls), env=env)
    assert ran.code == 1 and "alert" in ran.err
    refused(net)


URLLIB = """
import sys, urllib.request, urllib.error
try:
    sys.stdout.write(urllib.request.urlopen(sys.argv[1], timeout=20).read().decode())
except urllib.error.HTTPError as error:
    sys.exit(f"{error.code} {error.headers['X-Kap-Reason']} {error.read().decode()}")
except urllib.error.URLError as error:
    sys.exit(str(error))
"""


async def test_python_urllib(net: Net) -> None:
    for url in (f"http://allowed.test:{net.plain}/", f"https://allowed.test:{net.tls}/"):
        ran = await run(net, sys.executable, "-c", URLLIB, url)
        assert (ran.code, ran.out) == (0, PAGE), ran.err
    net.site.asked.clear()
    ran = await run(net, sys.executable, "-c", URLLIB, f"http://denied.test:{net.plain}/")
    assert "403 egress.not-listed" in ran.err
    ran = await run(net, sys.executable, "-c", URLLIB, f"https://denied.test:{net.tls}/")
    assert "403" in ran.err and "egress.not-listed" in ran.err
    refused(net)


JAVA = """
import java.io.*; import java.net.*;
public class Fetch { public static void main(String[] a) throws Exception {
  HttpURLConnection c = (HttpURLConnection) new URI(a[0]).toURL().openConnection();
  try { c.getInputStream().transferTo(System.out); System.out.flush(); }
  catch (IOException e) { System.err.println(e.getMessage() + " " + c.getHeaderField("X-Kap-Reason")); System.exit(1); } } }
"""


async def test_java(net: Net, tmp_path: Path) -> None:
    java, keytool = need("java"), need("keytool")
    (tmp_path / "Fetch.java").write_text(JAVA)
    store = str(tmp_path / "trust.p12")
    word = "changeit"
    imported = await run(
        net,
        keytool,
        "-importcert",
        "-noprompt",
        "-alias",
        "ca",
        "-file",
        str(net.ca),
        "-keystore",
        store,
        "-storepass",
        word,
    )
    if imported.code != 0:
        pytest.skip("keytool does not work on this machine")
    proxy = [
        f"-D{scheme}.proxy{part}" for scheme in ("http", "https") for part in ("Host=127.0.0.1", f"Port={net.proxy}")
    ]
    trust = (f"-Djavax.net.ssl.trustStore={store}", f"-Djavax.net.ssl.trustStorePassword={word}")
    base = (java, "-XX:TieredStopAtLevel=1", *proxy, *trust, str(tmp_path / "Fetch.java"))
    for url in (f"http://allowed.test:{net.plain}/", f"https://allowed.test:{net.tls}/"):
        ran = await run(net, *base, url)
        if "class" in ran.err and "not found" in ran.err.lower():
            pytest.skip("java has no compiler on this machine")
        assert (ran.code, ran.out) == (0, PAGE), ran.err
    net.site.asked.clear()
    ran = await run(net, *base, f"http://denied.test:{net.plain}/")
    assert ran.code == 1 and "403" in ran.err and "egress.not-listed" in ran.err
    ran = await run(net, *base, f"https://denied.test:{net.tls}/")
    assert ran.code == 1 and "egress.not-listed" in ran.err
    refused(net)


async def test_wget(net: Net) -> None:
    wget = need("wget")
    ran = await run(net, wget, "-qO-", f"--ca-certificate={net.ca}", f"https://allowed.test:{net.tls}/")
    assert (ran.code, ran.out) == (0, PAGE), ran.err
    net.site.asked.clear()
    ran = await run(net, wget, "-O-", f"--ca-certificate={net.ca}", f"https://denied.test:{net.tls}/")
    assert ran.code != 0 and "egress.not-listed" in ran.err
    refused(net)


async def test_apt_update(net: Net, tmp_path: Path) -> None:
    apt = need("apt-get")
    net.site.pages |= {"/repo/./Packages": b"", "/repo/Packages": b""}
    root = tmp_path / "apt"
    for folder in (
        "lists/partial",
        "cache/archives/partial",
        "etc/apt.conf.d",
        "etc/preferences.d",
        "etc/trusted.gpg.d",
    ):
        (root / folder).mkdir(parents=True)
    (root / "status").write_text("")

    async def update(host: str) -> Ran:
        (root / "sources.list").write_text(f"deb [trusted=yes] http://{host}:{net.plain}/repo ./\n")
        settings = {
            "Dir::Etc": root / "etc",
            "Dir::Etc::SourceList": root / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::State::Lists": root / "lists",
            "Dir::State::status": root / "status",
            "Dir::Cache": root / "cache",
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Acquire::Retries": "0",
            "Acquire::http::Proxy": f"http://127.0.0.1:{net.proxy}",
        }
        options = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
        return await run(net, apt, *options, "update")

    ran = await update("allowed.test")
    assert ran.code == 0, ran.err
    assert any("Packages" in path for path in net.site.asked)
    net.site.asked.clear()
    ran = await update("denied.test")
    assert "403" in ran.err + ran.out.decode()
    refused(net)
