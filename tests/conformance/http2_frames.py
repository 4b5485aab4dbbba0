"""Preface, frames, streams and their errors: h2spec's sections 3.5 to 7 (RFC 7540, whose demands RFC 9113 keeps)."""

import struct

import hyperframe.frame

from cases import ANSWERED, case, connection_error, stream_error
from generic import answers_ping, post
from wire import (
    ACK, CONTINUATION, DATA, ENABLE_PUSH, END_HEADERS, END_STREAM, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS, MAX_FRAME_SIZE, PADDED, PING, PREFACE, PRIORITISED, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    Failed, continuation, data, dependency, frame, ping, priority, reset, settings, window,
)

PROTOCOL_ERROR = connection_error("PROTOCOL_ERROR")
FRAME_SIZE_ERROR = connection_error("FRAME_SIZE_ERROR")
FLOW_CONTROL_ERROR = connection_error("FLOW_CONTROL_ERROR")
STREAM_CLOSED = stream_error("STREAM_CLOSED")
LARGEST_WINDOW = 2**31 - 1
UNKNOWN = 0x16


def dummies(count):
    return [(f"x-dummy{number}", "x" * 4000) for number in range(count)]


def is_ack(got):
    return isinstance(got, hyperframe.frame.SettingsFrame) and "ACK" in got.flags


def first_data(c, length):
    got = c.wait(lambda got: isinstance(got, hyperframe.frame.DataFrame))
    if len(got.data) != length:
        raise Failed(f"{len(got.data)} bytes for a window of {length}")


@case("http2/3.5", "the preface, to which the server's must be the first frame", greet=False)
def _(c):
    c.send(PREFACE, settings())
    c.wait(is_ack)
    if not isinstance(c.first, hyperframe.frame.SettingsFrame) or "ACK" in c.first.flags:
        raise Failed(f"{c.first} came first")


@case("http2/3.5", "a preface that is wrong", ("closed", "GOAWAY PROTOCOL_ERROR"), greet=False)
def _(c):
    return [b"INVALID CONNECTION PREFACE\r\n\r\n", settings()]


@case("http2/4.1", "a frame of an unknown kind")
def _(c):
    answers_ping(c, frame(UNKNOWN, 0, 0, bytes(8)))


@case("http2/4.1", "flags that are not defined")
def _(c):
    answers_ping(c, ping(b"baton???", flags=0x16))


@case("http2/4.1", "the reserved bit set")
def _(c):
    answers_ping(c, frame(PING, 0, 0x8000_0000, b"baton???"))


@case("http2/4.2", "DATA of 2^14 bytes", ANSWERED)
def _(c):
    return [post(c), data(1, bytes(2**14))]


@case("http2/4.2", "DATA larger than SETTINGS_MAX_FRAME_SIZE", stream_error("FRAME_SIZE_ERROR"))
def _(c):
    return [post(c), data(1, bytes(c.settings[MAX_FRAME_SIZE] + 1))]


@case("http2/4.2", "HEADERS larger than SETTINGS_MAX_FRAME_SIZE", FRAME_SIZE_ERROR)
def _(c):
    block = c.encode(c.request() + dummies(5), huffman=False)
    return [frame(HEADERS, END_STREAM | END_HEADERS, 1, block)]


@case("http2/4.3", "a header block that is none", connection_error("COMPRESSION_ERROR"))
def _(c):
    return [frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x40")]


@case("http2/4.3", "PRIORITY within a header block", PROTOCOL_ERROR)
def _(c):
    return [c.headers(flags=END_STREAM), priority(1), continuation(1, c.encode(dummies(1)))]


@case("http2/4.3", "HEADERS of another stream within a header block", PROTOCOL_ERROR)
def _(c):
    return [c.headers(flags=END_STREAM), c.headers(3), continuation(1, c.encode(dummies(1)))]


@case("http2/5.1", "idle: DATA", stream_error("PROTOCOL_ERROR", "STREAM_CLOSED"))
def _(c):
    return [data(1)]


@case("http2/5.1", "idle: RST_STREAM", PROTOCOL_ERROR)
def _(c):
    return [reset(1)]


@case("http2/5.1", "idle: WINDOW_UPDATE", PROTOCOL_ERROR)
def _(c):
    return [window(1, 100)]


@case("http2/5.1", "idle: CONTINUATION", PROTOCOL_ERROR)
def _(c):
    return [continuation(1, c.encode(c.request()))]


@case("http2/5.1", "half closed (remote): DATA", STREAM_CLOSED)
def _(c):
    return [c.headers(), data(1)]


@case("http2/5.1", "half closed (remote): HEADERS", STREAM_CLOSED)
def _(c):
    return [c.headers(), c.headers()]


@case("http2/5.1", "half closed (remote): CONTINUATION", stream_error("STREAM_CLOSED", "PROTOCOL_ERROR"))
def _(c):
    return [c.headers(), continuation(1, c.encode(c.request()))]


@case("http2/5.1", "closed by RST_STREAM: DATA", STREAM_CLOSED)
def _(c):
    return [c.headers(flags=END_HEADERS), reset(1), data(1)]


@case("http2/5.1", "closed by RST_STREAM: HEADERS", STREAM_CLOSED)
def _(c):
    return [c.headers(flags=END_HEADERS), reset(1), c.headers()]


@case("http2/5.1", "closed by RST_STREAM: CONTINUATION", stream_error("STREAM_CLOSED", "PROTOCOL_ERROR"))
def _(c):
    return [c.headers(flags=END_HEADERS), reset(1), continuation(1, c.encode(dummies(1)))]


def closed(c):
    c.send(c.headers())
    c.end_of(1)


@case("http2/5.1", "closed: DATA", STREAM_CLOSED)
def _(c):
    closed(c)
    return [data(1)]


@case("http2/5.1", "closed: HEADERS", connection_error("STREAM_CLOSED"))
def _(c):
    closed(c)
    return [c.headers()]


@case("http2/5.1", "closed: CONTINUATION", connection_error("STREAM_CLOSED", "PROTOCOL_ERROR"))
def _(c):
    closed(c)
    return [continuation(1, c.encode(dummies(1)))]


@case("http2/5.1.1", "a stream with an even number", PROTOCOL_ERROR)
def _(c):
    return [c.headers(2)]


@case("http2/5.1.1", "a stream below one that was opened", PROTOCOL_ERROR)
def _(c):
    return [c.headers(5), c.headers(3)]


@case("http2/5.1.2", "more streams at once than are allowed")
def _(c):
    most = c.settings[MAX_CONCURRENT_STREAMS]
    if most is None:
        raise Failed("no limit is told")
    # Answers that do not fit into their windows keep their streams open.
    c.send(settings((INITIAL_WINDOW_SIZE, 0)))
    c.wait(is_ack)
    c.send(*(c.headers(2 * number + 1) for number in range(most + 1)))
    got = c.wait(lambda got: isinstance(got, hyperframe.frame.RstStreamFrame))
    if got.stream_id != 2 * most + 1 or got.error_code not in (1, 7):
        raise Failed(f"stream {got.stream_id} was reset with {got.error_code}")


@case("http2/5.3.1", "HEADERS that depend on themselves", stream_error("PROTOCOL_ERROR"))
def _(c):
    block = dependency(1) + c.encode(c.request())
    return [frame(HEADERS, END_STREAM | END_HEADERS | PRIORITISED, 1, block)]


@case("http2/5.3.1", "PRIORITY that depends on itself", stream_error("PROTOCOL_ERROR"))
def _(c):
    return [priority(2, 2)]


INVALID_PING = frame(PING, 0, 3, bytes(8))


@case("http2/5.4.1", "after a connection error the connection is closed")
def _(c):
    c.send(INVALID_PING)
    try:
        c.wait(lambda got: False)
    except Failed:
        if not c.ended:
            raise


@case("http2/5.4.1", "a connection error is told", PROTOCOL_ERROR)
def _(c):
    return [INVALID_PING]


@case("http2/5.5", "an extension that is not known")
def _(c):
    answers_ping(c, frame(UNKNOWN, 0, 0, b"\x00" * 8))


@case("http2/5.5", "an extension within a header block", PROTOCOL_ERROR)
def _(c):
    return [c.headers(flags=END_STREAM), frame(UNKNOWN, 0, 0, bytes(8)), continuation(1, c.encode(dummies(1)))]


@case("http2/6.1", "DATA on stream 0", PROTOCOL_ERROR)
def _(c):
    return [data(0)]


@case("http2/6.1", "DATA on a stream that is not open", STREAM_CLOSED)
def _(c):
    return [c.headers(), data(1)]


@case("http2/6.1", "DATA whose padding is longer than it is", PROTOCOL_ERROR)
def _(c):
    return [post(c, ("content-length", "4")), frame(DATA, END_STREAM | PADDED, 1, b"\x06Test")]


@case("http2/6.2", "HEADERS without an end, then PRIORITY", PROTOCOL_ERROR)
def _(c):
    return [c.headers(flags=END_STREAM), priority(1), continuation(1, c.encode(dummies(1)))]


@case("http2/6.2", "HEADERS without an end, then HEADERS of another stream", PROTOCOL_ERROR)
def _(c):
    return [c.headers(flags=END_STREAM), c.headers(3), continuation(1, c.encode(dummies(1)))]


@case("http2/6.2", "HEADERS on stream 0", PROTOCOL_ERROR)
def _(c):
    return [c.headers(0)]


@case("http2/6.2", "HEADERS whose padding is longer than they are", stream_error("PROTOCOL_ERROR"))
def _(c):
    block = c.encode(c.request())
    return [frame(HEADERS, END_STREAM | END_HEADERS | PADDED, 1, bytes([len(block) + 2]) + block)]


@case("http2/6.3", "PRIORITY on stream 0", PROTOCOL_ERROR)
def _(c):
    return [priority(0)]


@case("http2/6.3", "PRIORITY of 4 bytes", stream_error("FRAME_SIZE_ERROR"))
def _(c):
    return [c.headers(flags=END_HEADERS), frame(PRIORITY, 0, 1, b"\x80\x00\x00\x01")]


@case("http2/6.4", "RST_STREAM on stream 0", PROTOCOL_ERROR)
def _(c):
    return [reset(0)]


@case("http2/6.4", "RST_STREAM on an idle stream", PROTOCOL_ERROR)
def _(c):
    return [reset(1)]


@case("http2/6.4", "RST_STREAM of 3 bytes", FRAME_SIZE_ERROR)
def _(c):
    return [c.headers(flags=END_HEADERS), frame(RST_STREAM, 0, 1, bytes(3))]


@case("http2/6.5", "an acknowledgement with a payload", FRAME_SIZE_ERROR)
def _(c):
    return [frame(SETTINGS, ACK, 0, b"\x00")]


@case("http2/6.5", "SETTINGS of a stream", PROTOCOL_ERROR)
def _(c):
    return [frame(SETTINGS, 0, 1, struct.pack(">HI", MAX_CONCURRENT_STREAMS, 16))]


@case("http2/6.5", "SETTINGS of 3 bytes", FRAME_SIZE_ERROR)
def _(c):
    return [frame(SETTINGS, 0, 0, b"\x00\x03\x00")]


@case("http2/6.5.2", "SETTINGS_ENABLE_PUSH other than 0 or 1", PROTOCOL_ERROR)
def _(c):
    return [settings((ENABLE_PUSH, 2))]


@case("http2/6.5.2", "SETTINGS_INITIAL_WINDOW_SIZE above the largest window", FLOW_CONTROL_ERROR)
def _(c):
    return [settings((INITIAL_WINDOW_SIZE, LARGEST_WINDOW + 1))]


@case("http2/6.5.2", "SETTINGS_MAX_FRAME_SIZE below the smallest", PROTOCOL_ERROR)
def _(c):
    return [settings((MAX_FRAME_SIZE, 2**14 - 1))]


@case("http2/6.5.2", "SETTINGS_MAX_FRAME_SIZE above the largest", PROTOCOL_ERROR)
def _(c):
    return [settings((MAX_FRAME_SIZE, 2**24))]


@case("http2/6.5.2", "a setting that is not known")
def _(c):
    answers_ping(c, settings((0xFF, 1)))


@case("http2/6.5.3", "SETTINGS_INITIAL_WINDOW_SIZE twice, of which the last counts")
def _(c):
    c.send(settings((INITIAL_WINDOW_SIZE, 100), (INITIAL_WINDOW_SIZE, 1)))
    c.wait(is_ack)
    c.send(c.headers())
    first_data(c, 1)


@case("http2/6.5.3", "SETTINGS, which are acknowledged")
def _(c):
    c.send(settings((ENABLE_PUSH, 0)))
    c.wait(is_ack)


@case("http2/6.7", "PING, which is answered")
def _(c):
    answers_ping(c)


@case("http2/6.7", "an acknowledged PING, which is not answered")
def _(c):
    c.send(ping(b"unwanted", ACK), ping())
    got = c.wait(lambda got: isinstance(got, hyperframe.frame.PingFrame))
    if got.opaque_data != b"baton!!!":
        raise Failed("an answer to an answer")


@case("http2/6.7", "PING of a stream", PROTOCOL_ERROR)
def _(c):
    return [frame(PING, 0, 1, bytes(8))]


@case("http2/6.7", "PING of 6 bytes", FRAME_SIZE_ERROR)
def _(c):
    return [frame(PING, 0, 0, bytes(6))]


@case("http2/6.8", "GOAWAY of a stream", PROTOCOL_ERROR)
def _(c):
    return [frame(GOAWAY, 0, 1, bytes(8))]


@case("http2/6.9", "a window that opens by nothing", PROTOCOL_ERROR)
def _(c):
    return [window(0, 0)]


@case("http2/6.9", "a stream's window that opens by nothing", stream_error("PROTOCOL_ERROR"))
def _(c):
    return [c.headers(flags=END_HEADERS), window(1, 0)]


@case("http2/6.9", "WINDOW_UPDATE of 3 bytes", FRAME_SIZE_ERROR)
def _(c):
    return [frame(WINDOW_UPDATE, 0, 0, b"\x00\x00\x01")]


@case("http2/6.9.1", "a first window of 1 byte")
def _(c):
    c.send(settings((INITIAL_WINDOW_SIZE, 1)))
    c.wait(is_ack)
    c.send(c.headers())
    first_data(c, 1)


@case("http2/6.9.1", "the connection's window above the largest", FLOW_CONTROL_ERROR)
def _(c):
    return [window(0, LARGEST_WINDOW), window(0, LARGEST_WINDOW)]


@case("http2/6.9.1", "a stream's window above the largest", ("RST_STREAM FLOW_CONTROL_ERROR",))
def _(c):
    return [c.headers(flags=END_HEADERS), window(1, LARGEST_WINDOW), window(1, LARGEST_WINDOW)]


@case("http2/6.9.2", "another first window while a stream is open")
def _(c):
    c.send(settings((INITIAL_WINDOW_SIZE, 0)))
    c.wait(is_ack)
    c.send(c.headers(), settings((INITIAL_WINDOW_SIZE, 1)))
    first_data(c, 1)


@case("http2/6.9.2", "a window that gets negative")
def _(c):
    c.send(settings((INITIAL_WINDOW_SIZE, 3)))
    c.wait(is_ack)
    c.send(c.headers())
    first_data(c, 3)
    c.send(settings((INITIAL_WINDOW_SIZE, 2)))
    c.wait(is_ack)
    # One byte is owed, so one of two is left.
    c.send(window(1, 2))
    first_data(c, 1)


@case("http2/6.9.2", "a first window above the largest", FLOW_CONTROL_ERROR)
def _(c):
    return [settings((INITIAL_WINDOW_SIZE, LARGEST_WINDOW + 1))]


def begun(c):
    return frame(HEADERS, END_STREAM, 1, c.encode(c.request()))


@case("http2/6.10", "several CONTINUATION frames", ANSWERED)
def _(c):
    return [begun(c), continuation(1, c.encode(dummies(1)), 0), continuation(1, c.encode(dummies(1)))]


@case("http2/6.10", "something else between CONTINUATION frames", PROTOCOL_ERROR)
def _(c):
    return [begun(c), continuation(1, c.encode(dummies(1)), 0), data(1)]


@case("http2/6.10", "CONTINUATION on stream 0", PROTOCOL_ERROR)
def _(c):
    return [begun(c), continuation(0, c.encode(dummies(1)))]


@case("http2/6.10", "CONTINUATION after HEADERS that have ended", PROTOCOL_ERROR)
def _(c):
    return [c.headers(), continuation(1, c.encode(dummies(1)))]


@case("http2/6.10", "CONTINUATION after CONTINUATION that has ended", PROTOCOL_ERROR)
def _(c):
    return [begun(c), continuation(1, c.encode(dummies(1))), continuation(1, c.encode(dummies(1)))]


@case("http2/6.10", "CONTINUATION after DATA", PROTOCOL_ERROR)
def _(c):
    return [post(c), data(1), frame(CONTINUATION, END_HEADERS, 1, c.encode(dummies(1)))]


@case("http2/7", "GOAWAY with a code that is not known")
def _(c):
    c.send(frame(GOAWAY, 0, 0, struct.pack(">II", 0, 0xFF)), ping())
    # The connection may also end.
    try:
        c.wait(lambda got: isinstance(got, hyperframe.frame.PingFrame))
    except Failed as failed:
        if not c.ended or str(failed) != "closed":
            raise


@case("http2/7", "RST_STREAM with a code that is not known")
def _(c):
    answers_ping(c, c.headers(flags=END_HEADERS), reset(1, 0xFF))
