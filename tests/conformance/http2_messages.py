"""Requests that are malformed: h2spec's sections 8.1 to 8.2 (RFC 9113 section 8)."""

from cases import case, connection_error, stream_error
from generic import post
from wire import END_HEADERS, END_STREAM, PUSH_PROMISE, data, frame

MALFORMED = stream_error("PROTOCOL_ERROR")


@case("http2/8.1", "a second HEADERS frame that does not end the stream", MALFORMED)
def _(c):
    return [post(c), data(1, flags=0), c.headers(fields=[("x-test", "ok")], flags=END_HEADERS)]


@case("http2/8.1.2", "a field name in upper case", MALFORMED)
def _(c):
    return [c.headers(fields=c.request(("X-TEST", "ok")))]


@case("http2/8.1.2.1", "a pseudo-header field that is not known", MALFORMED)
def _(c):
    return [c.headers(fields=c.request((":test", "ok")))]


@case("http2/8.1.2.1", "the pseudo-header field of an answer", MALFORMED)
def _(c):
    return [c.headers(fields=c.request((":status", "200")))]


@case("http2/8.1.2.1", "a pseudo-header field in trailers", MALFORMED)
def _(c):
    return [post(c), data(1, flags=0), c.headers(fields=[(":method", "POST")])]


@case("http2/8.1.2.1", "a pseudo-header field behind a field", MALFORMED)
def _(c):
    return [c.headers(fields=[("x-test", "ok")] + c.request())]


@case("http2/8.1.2.2", "a field of the connection", MALFORMED)
def _(c):
    return [c.headers(fields=c.request(("connection", "keep-alive")))]


@case("http2/8.1.2.2", "TE with something other than trailers", MALFORMED)
def _(c):
    return [c.headers(fields=c.request(("trailers", "test"), ("te", "trailers, deflate")))]


@case("http2/8.1.2.3", "an empty :path", MALFORMED)
def _(c):
    return [c.headers(path="")]


for omitted in (":method", ":scheme", ":path"):
    @case("http2/8.1.2.3", f"no {omitted}", MALFORMED)
    def _(c, omitted=omitted):
        return [c.headers(fields=[field for field in c.request() if field[0] != omitted])]


for repeated in (":method", ":scheme", ":path"):
    @case("http2/8.1.2.3", f"{repeated} twice", MALFORMED)
    def _(c, repeated=repeated):
        again = [field for field in c.request() if field[0] == repeated]
        return [c.headers(fields=c.request(*again))]


@case("http2/8.1.2.6", "less in Content-Length than in DATA", MALFORMED)
def _(c):
    return [post(c, ("content-length", "1")), data(1)]


@case("http2/8.1.2.6", "less in Content-Length than in several DATA frames", MALFORMED)
def _(c):
    return [post(c, ("content-length", "1")), data(1, flags=0), data(1)]


@case("http2/8.2", "PUSH_PROMISE of a client", connection_error("PROTOCOL_ERROR"))
def _(c):
    promised = b"\x00\x00\x00\x02" + c.encode(c.request())
    return [c.headers(flags=END_STREAM | END_HEADERS), frame(PUSH_PROMISE, END_HEADERS, 1, promised)]
