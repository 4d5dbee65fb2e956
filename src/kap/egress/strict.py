"""An addon manager under which every failure of a hook denies. Stock mitmproxy logs the exception and lets the traffic pass.

Rules: whatever an addon raises in a hook (an exception, `AddonHalt`, a stray cancellation), sync or async, kap's addon or another's,
refuses the thing the hook was about: a request is answered 500, a connection is not made or is cut. Hooks about kap's own life
(`load`, `configure`, `running`) raise a `KapError`, so that nothing starts half; the ones at the end run for every addon.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from mitmproxy import addonmanager, connection, flow, hooks, http
from mitmproxy.proxy import commands, events, layer, server_hooks

from kap.egress import replies
from kap.errors import KapError

_log = logging.getLogger("kap.egress.frame")
_STARTING = frozenset({"load", "configure", "running"})
_ENDING = frozenset({"done", "client_disconnected", "server_disconnected", "server_connect_error", "update"})
_ANSWERED = frozenset({"requestheaders", "http_connect"})
INTERNAL_ERROR = "egress.internal-error"


class CloseLayer(layer.Layer):  # type: ignore[misc]
    """Closes the client's connection, whatever comes."""

    def _handle_event(self, event: events.Event) -> Any:
        if isinstance(event, events.Start | events.DataReceived):
            yield commands.CloseConnection(self.context.client)


class StrictAddonManager(addonmanager.AddonManager):  # type: ignore[misc]
    """See the module."""

    def register(self, addon: object) -> object:
        """Add one addon and run its `load`. Raises `KapError`, also where the name is taken."""
        try:
            return super().register(addon)
        except Exception as error:
            raise _no_start(addon, "load", error) from error

    async def trigger_event(self, event: hooks.Hook) -> None:
        """Run the hook of every addon in turn; the first failure denies and ends the chain."""
        for addon in list(self.chain):
            try:
                await self.invoke_addon(addon, event)
            except BaseException as error:
                if _is_ours(error):
                    self._failed(addon, event, error)
                    raise
                if not self._failed(addon, event, error):
                    return

    def trigger(self, event: hooks.Hook) -> None:
        """As `trigger_event`, for the hooks mitmproxy runs synchronously."""
        for addon in list(self.chain):
            try:
                self.invoke_addon_sync(addon, event)
            except Exception as error:  # noqa: BLE001 - that is the point
                if not self._failed(addon, event, error):
                    return

    def _failed(self, addon: object, event: hooks.Hook, error: BaseException) -> bool:
        """Deny what `event` is about; whether the addons behind still get to see it. Raises `error` again, as a `KapError`, for a start."""
        if event.name in _STARTING:
            raise _no_start(addon, event.name, error) if isinstance(error, Exception) else error
        if event.name == "add_log":
            return True  # to log that a log hook failed would call it again
        _log.error("hook %s of %s failed, denied: %r", event.name, type(addon).__name__, error, exc_info=error)
        if event.name in _ENDING:
            return True
        for subject in event.args():
            deny(subject, event.name, self.master)
        return False


def _no_start(addon: object, hook: str, error: Exception) -> KapError:
    if isinstance(error, KapError):
        return error
    return KapError(
        f"the addon {type(addon).__name__} failed to start ({hook}): {type(error).__name__}: {error}",
        "nothing starts without it: correct the addon, or leave it out",
    )


def deny(subject: Any, hook: str, master: Any) -> None:
    """Refuse what a hook was about. `subject`: the hook's argument; what is unknown has its client connection cut."""
    if isinstance(subject, http.HTTPFlow) and hook in _ANSWERED:
        subject.request.stream = False
        subject.response = http.Response.make(500, replies.body_text(INTERNAL_ERROR), {"X-Kap-Reason": INTERNAL_ERROR})
    elif isinstance(subject, server_hooks.ServerConnectionHookData):
        subject.server.error = f"kap:{INTERNAL_ERROR}"
        if hook != "server_connect":
            cut(subject.client, master)
    elif isinstance(subject, connection.Client):
        subject.error = INTERNAL_ERROR
        cut(subject, master)
    elif isinstance(subject, layer.NextLayer):
        subject.layer = CloseLayer(subject.context)
    elif isinstance(subject, flow.Flow):
        if subject.killable:
            subject.kill()
        cut(subject.client_conn, master)
    elif hasattr(subject, "refuse"):
        subject.refuse(INTERNAL_ERROR)
    else:
        client = getattr(subject, "client", None) or getattr(getattr(subject, "context", None), "client", None)
        cut(client, master)


def cut(client: connection.Client | None, master: Any) -> bool:
    """Close a client connection and everything behind it, at once; whether there was one."""
    proxyserver = master.addons.get("proxyserver")
    if client is None or proxyserver is None:
        return False
    handler = proxyserver.connections.get(client.id)
    io = None if handler is None else handler.transports.get(client)
    if io is None:
        return False
    for part in handler.layer.context.layers:
        if hasattr(part, "forsake"):
            part.forsake()  # the cancellation below only arrives later, and nothing may pass until then
    if io.writer is not None and not io.writer.is_closing():
        io.writer.transport.abort()
    if io.handler is not None:
        io.handler.cancel("cut by kap")
    return True


def _is_ours(error: BaseException) -> bool:
    """Whether the exception is the end of this very task or of the process, not something a hook came up with."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return not isinstance(error, Exception)
