"""What every server has to take: h2spec's generic sections 1 to 5."""

import time

import hyperframe.frame
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from cases import ANSWERED, case
from wire import (
    END_HEADERS, END_STREAM, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, PADDED, PATIENCE, PRIORITISED,
    Failed, continuation, data, dependency, frame, ping, priority, reset, settings, window,
)


def answers_ping(connection, *frames):
    connection.send(*frames, ping())
    connection.wait(lambda got: isinstance(got, hyperframe.frame.PingFrame) and got.opaque_data == b"baton!!!")


def post(connection, *fields, flags=END_HEADERS):
    return connection.headers(fields=connection.request(*fields, method="POST"), flags=flags)


@case("generic/1", "the client's preface", ANSWERED)
def _(c):
    return [c.headers()]


@case("generic/2", "PRIORITY on an idle stream")
def _(c):
    answers_ping(c, priority(1))


def after_half_close(c, *between):
    c.send(settings((INITIAL_WINDOW_SIZE, 0)), c.headers(), *between, window(1, 1))
    got = c.wait(lambda got: isinstance(got, hyperframe.frame.DataFrame))
    if len(got.data) != 1:
        raise Failed(f"{len(got.data)} bytes for a window of 1")


@case("generic/2", "WINDOW_UPDATE on a half-closed (remote) stream")
def _(c):
    after_half_close(c)


@case("generic/2", "PRIORITY on a half-closed (remote) stream")
def _(c):
    after_half_close(c, priority(1))


@case("generic/2", "RST_STREAM on a half-closed (remote) stream")
def _(c):
    answers_ping(c, c.headers(), reset(1))


@case("generic/2", "PRIORITY on a closed stream")
def _(c):
    c.send(c.headers())
    c.end_of(1)
    answers_ping(c, priority(1))


@case("generic/3.1", "a DATA frame", ANSWERED)
def _(c):
    return [post(c), data(1)]


@case("generic/3.1", "several DATA frames", ANSWERED)
def _(c):
    return [post(c), data(1, flags=0), data(1)]


@case("generic/3.1", "a DATA frame with padding", ANSWERED)
def _(c):
    return [post(c), data(1, b"\x06test" + bytes(6), END_STREAM | PADDED)]


@case("generic/3.2", "a HEADERS frame", ANSWERED)
def _(c):
    return [c.headers()]


@case("generic/3.2", "a HEADERS frame with padding", ANSWERED)
def _(c):
    block = c.encode(c.request())
    return [frame(HEADERS, END_STREAM | END_HEADERS | PADDED, 1, b"\x06" + block + bytes(6))]


@case("generic/3.2", "a HEADERS frame with priority", ANSWERED)
def _(c):
    block = c.encode(c.request())
    return [frame(HEADERS, END_STREAM | END_HEADERS | PRIORITISED, 1, dependency(0, 256) + block)]


@case("generic/3.3", "PRIORITY of 1", ANSWERED)
def _(c):
    return [priority(1, 0, 1), c.headers()]


@case("generic/3.3", "PRIORITY of 256", ANSWERED)
def _(c):
    return [priority(1, 0, 256), c.headers()]


@case("generic/3.3", "PRIORITY with a dependency", ANSWERED)
def _(c):
    return [priority(1), priority(3, 1), c.headers()]


@case("generic/3.3", "PRIORITY with an exclusive dependency", ANSWERED)
def _(c):
    return [priority(1), priority(3, 1, 1, True), c.headers()]


@case("generic/3.3", "PRIORITY of an idle stream, then HEADERS on a lower one", ANSWERED)
def _(c):
    return [priority(3), c.headers(1)]


@case("generic/3.4", "RST_STREAM")
def _(c):
    answers_ping(c, c.headers(flags=END_HEADERS), reset(1))


@case("generic/3.5", "SETTINGS")
def _(c):
    c.send(settings((MAX_CONCURRENT_STREAMS, 100)))
    c.wait(lambda got: isinstance(got, hyperframe.frame.SettingsFrame) and "ACK" in got.flags)


@case("generic/3.7", "PING")
def _(c):
    answers_ping(c)


@case("generic/3.8", "GOAWAY")
def _(c):
    c.send(frame(GOAWAY, 0, 0, bytes(8)), ping())
    # The connection may also be closed, in order.
    try:
        while (got := c.next(time.monotonic() + PATIENCE)) is not None:
            if isinstance(got, hyperframe.frame.PingFrame):
                return
    except TimeoutError:
        raise Failed("neither an answer nor the end") from None


@case("generic/3.9", "WINDOW_UPDATE of the connection", ANSWERED)
def _(c):
    return [window(0, 1), c.headers()]


@case("generic/3.9", "WINDOW_UPDATE of a stream", ANSWERED)
def _(c):
    return [c.headers(flags=END_HEADERS, method="POST"), window(1, 1), data(1)]


@case("generic/3.10", "a CONTINUATION frame", ANSWERED)
def _(c):
    block = c.encode(c.request())
    return [frame(HEADERS, END_STREAM, 1, block[:3]), continuation(1, block[3:])]


@case("generic/3.10", "several CONTINUATION frames", ANSWERED)
def _(c):
    block = c.encode(c.request())
    return [frame(HEADERS, END_STREAM, 1, block[:2]), continuation(1, block[2:4], 0), continuation(1, block[4:])]


@case("generic/4", "a GET request", ANSWERED)
def _(c):
    return [c.headers()]


@case("generic/4", "a HEAD request", ANSWERED)
def _(c):
    return [c.headers(method="HEAD")]


@case("generic/4", "a POST request", ANSWERED)
def _(c):
    return [post(c), data(1)]


@case("generic/4", "a POST request with trailers", ANSWERED)
def _(c):
    return [post(c, ("trailer", "x-test")), data(1, flags=0), c.headers(fields=[("x-test", "ok")])]


def coded(text):
    code = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(text)
    return bytes([0x80 | len(code)]) + code


def representations():
    """Each way of RFC 7541 section 6 to write a field; User-Agent is 58 in the static table."""
    yield "an indexed field", b"\x90"
    kinds = (("with incremental indexing", b"\x7a", b"\x40"), ("without indexing", b"\x0f\x2b", b"\x00"),
             ("never indexed", b"\x1f\x2b", b"\x10"))
    for kind, known, new in kinds:
        yield f"a literal {kind}, name by index", known + b"\x05baton"
        yield f"a literal {kind}, name by index, in Huffman's code", known + coded(b"baton")
        yield f"a literal {kind}, new name", new + b"\x06x-test\x05baton"
        yield f"a literal {kind}, new name, in Huffman's code", new + coded(b"x-test") + coded(b"baton")


for what, field in representations():
    @case("generic/5", what, ANSWERED)
    def _(c, field=field):
        return [frame(HEADERS, END_STREAM | END_HEADERS, 1, c.encode(c.request()) + field)]


for what, updates in (("a change of the table's size", b"\x21"), ("two changes of the table's size", b"\x20\x3f\xe1\x1f")):
    @case("generic/5", what, ANSWERED)
    def _(c, updates=updates):
        return [frame(HEADERS, END_STREAM | END_HEADERS, 1, updates + c.encode(c.request()))]
