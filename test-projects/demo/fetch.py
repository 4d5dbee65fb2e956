"""Fetch one URL the way a simple tool does; says in one line what came of it. tcp://ADDRESS:PORT only connects."""

import socket
import sys
import urllib.error
import urllib.parse
import urllib.request

url = sys.argv[1]
parts = urllib.parse.urlsplit(url)
try:
    if parts.scheme == "tcp":
        socket.create_connection((parts.hostname, parts.port), 10).close()
        sys.stdout.write("connected\n")
    else:
        with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310 - http or https, as given
            sys.stdout.write(f"HTTP {answer.status}, {len(answer.read())} bytes\n")
except urllib.error.HTTPError as error:  # plain HTTP: kap's answer is readable
    sys.exit(f"{error.code}: {error.read().decode(errors='replace').splitlines()[0]}")
except (urllib.error.URLError, OSError) as error:
    sys.exit(str(getattr(error, "reason", error)))
