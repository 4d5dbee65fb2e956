"""HTTP/1 for a forward proxy, both directions: strict, sans-io, and cheap (about 10 µs a request and its response).

Rules: what is not exactly HTTP/1.0 or 1.1 is refused (bare LF, folding, space before a colon, control bytes, doubled Host or
Content-Length, Content-Length beside Transfer-Encoding, codings other than chunked, fragments, userinfo, https:// URLs, ...); nothing
is passed on as it came: `rebuild_request` and `rebuild_response` write each head anew, with Host forced to the target (RFC 9112 3.2.2),
hop-by-hop fields taken out and Via added. Nobody may learn a host from a request that another parser could read differently.

    requests = RequestParser()                    # RequestParser(origin_port=80) on a transparent port or inside a tunnel
    requests.feed(data)                           # as read from the client
    while (event := requests.next()) is not None: # raises BadMessage(code, message): answer replies.reply(error.code), close
        if type(event) is RequestHead:
            # event.form == "authority": CONNECT event.target; after the 200, requests.rest() are the tunnel's first bytes
            # else decide(event.target), then:
            upstream.write(rebuild_request(event, event.target))
            chunked = event.fields.chunked
            responses.expect(event.method, event.upgrade)
        elif type(event) is End:
            if chunked: upstream.write(last_chunk(event.trailers))
        else:                                     # bytes or memoryview: a piece of the body
            upstream.write(chunk(event) if chunked else event)

Pull one event at a time: to wait for a connection, stop calling `next` (and pause reading when `requests.buffered` grows); a pipelined
request stays unparsed until then. The other direction is the same shape:

    responses.feed(data)                          # on EOF: responses.feed_eof(), then next() to the end
    while (event := responses.next()) is not None:
        if type(event) is ResponseHead:
            client.write(rebuild_response(event, to_minor=request.minor, close=...))
            # event.interim: 1xx, another head follows (send 1xx only where request.minor == 1)
            # event.switched: websocket accepted; relay responses.rest() and requests.rest(), then raw bytes
            # final answer to a websocket request that is not switched: requests.resume()
            chunked = event.fields.chunked and event.has_body and request.minor == 1
        elif type(event) is End: ...              # event.trailers; requests.keep_alive, responses' head.keep_alive, must_close()
        else: client.write(chunk(event) if chunked else event)

A body cut short raises BadMessage after `feed_eof`: end the other side's connection without a clean end of message.
"""

from kap.egress.http1_fields import BadMessage, Fields
from kap.egress.http1_message import END, End, WireLimits
from kap.egress.http1_request import RequestHead, RequestParser
from kap.egress.http1_response import ResponseHead, ResponseParser
from kap.egress.http1_write import (
    CONTINUE,
    LAST_CHUNK,
    VIA,
    chunk,
    host_field,
    last_chunk,
    must_close,
    rebuild_request,
    rebuild_response,
)

__all__ = [
    "CONTINUE",
    "END",
    "LAST_CHUNK",
    "VIA",
    "BadMessage",
    "End",
    "Fields",
    "RequestHead",
    "RequestParser",
    "ResponseHead",
    "ResponseParser",
    "WireLimits",
    "chunk",
    "host_field",
    "last_chunk",
    "must_close",
    "rebuild_request",
    "rebuild_response",
]
