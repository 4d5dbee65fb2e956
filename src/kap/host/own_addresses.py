"""Which public addresses are this machine's own: a name that leads to one leads to the services of the host, past every firewall.

Private and loopback addresses are the address guard's, which a grant can open; the public ones are refused whatever the policy says.
The kernel is asked each time, since a machine's addresses come and go. Source: bind(2), ip(7) ip_nonlocal_bind.
"""

from __future__ import annotations

import socket
from collections.abc import Container

from kap.names.addresses import classify

_NOBODYS = "192.0.2.1"  # RFC 5737: on no machine


class OwnAddresses(Container[str]):
    """``address in OwnAddresses()``: it is global, and an interface of this machine has it."""

    def __contains__(self, address: object) -> bool:
        return isinstance(address, str) and classify(address).is_global and is_bound_here(address)


def is_bound_here(address: str) -> bool:
    """Whether an interface of this machine has the canonical `address`; False where the kernel lets any address be bound."""
    return _binds(address) and not _binds(_NOBODYS)


def _binds(address: str) -> bool:
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((address, 0))
    except OSError:
        return False
    return True
