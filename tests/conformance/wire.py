"""One HTTP/2 connection of which the test decides every byte.

What is sent is put together here, wrong lengths and flags included. What comes back is read by two libraries, hyperframe and
hpack, so that every frame of the server is judged as well.
"""

import socket
import ssl
import struct
import time

import hpack
import hyperframe.exceptions
import hyperframe.frame

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITISED = 0x20

# RFC 9113 section 7.
CODES = (
    "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
    "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
)
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = range(1, 6)

# Seconds for what a server must do, and for what it must not do.
PATIENCE = 5.0
QUIET = 0.7


class Failed(Exception):
    """What the server did instead, as words."""


class Server:
    """Where a server listens; `authority` is the file that its certificate is verified with, for TLS."""

    def __init__(self, name, address, authority=None):
        self.name = name
        host, _, port = address.rpartition(":")
        self.host, self.port = host, int(port)
        self.context = None
        if authority:
            self.context = ssl.create_default_context(cafile=authority)
            self.context.set_alpn_protocols(["h2"])

    def connect(self):
        connection = socket.create_connection((self.host, self.port), PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.context:
            connection = self.context.wrap_socket(connection, server_hostname="localhost")
            if connection.selected_alpn_protocol() != "h2":
                raise Failed("another protocol by ALPN")
        return connection


def frame(kind, flags, stream, payload=b"", length=None):
    """Any frame; `length` is the one to claim."""
    length = len(payload) if length is None else length
    return struct.pack(">I", length)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def data(stream, payload=b"test", flags=END_STREAM):
    return frame(DATA, flags, stream, payload)


def priority(stream, depends_on=0, weight=1, exclusive=False):
    return frame(PRIORITY, 0, stream, dependency(depends_on, weight, exclusive))


def dependency(depends_on, weight=256, exclusive=False):
    return struct.pack(">IB", depends_on | (0x8000_0000 if exclusive else 0), weight - 1)


def reset(stream, code=8):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def settings(*pairs):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def ping(payload=b"baton!!!", flags=0):
    return frame(PING, flags, 0, payload)


def window(stream, increment):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def continuation(stream, block, flags=END_HEADERS):
    return frame(CONTINUATION, flags, stream, block)


class Connection:
    """A connection whose two sides have exchanged and acknowledged their settings."""

    def __init__(self, server, greet=True):
        self.server = server
        self.socket = server.connect()
        self.unread = bytearray()
        self.ended = False
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.settings = {MAX_CONCURRENT_STREAMS: None, MAX_FRAME_SIZE: 16384, HEADER_TABLE_SIZE: 4096}
        self.first = None
        # Stream of a header block that has begun, with its bytes so far.
        self.block = None
        if greet:
            self.send(PREFACE + settings())
            self.wait(lambda got: isinstance(got, hyperframe.frame.SettingsFrame) and "ACK" in got.flags)

    def close(self):
        self.socket.close()

    def request(self, *fields, method="GET", path="/"):
        """The fields of a request, these added."""
        scheme = "https" if self.server.context else "http"
        own = [(":method", method), (":scheme", scheme), (":path", path), (":authority", "localhost")]
        return own + list(fields)

    def encode(self, fields, huffman=True):
        return self.encoder.encode([hpack.HeaderTuple(*field) for field in fields], huffman)

    def headers(self, stream=1, fields=None, flags=END_STREAM | END_HEADERS, **how):
        """A HEADERS frame with a request, or with these fields."""
        return frame(HEADERS, flags, stream, self.encode(self.request(**how) if fields is None else fields))

    def send(self, *frames):
        try:
            self.socket.sendall(b"".join(frames))
        except OSError:
            # Whoever reads is told how the connection ended.
            pass

    def next(self, until):
        """The next frame before that time; None at the end of the connection, TimeoutError when nothing came."""
        while True:
            got = self._take()
            if got is not None or self.ended:
                return got
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self.socket.settimeout(left)
            try:
                came = self.socket.recv(65536)
            except (TimeoutError, ssl.SSLWantReadError):
                raise TimeoutError from None
            except OSError:
                came = b""
            self.ended = not came
            self.unread += came

    def _take(self):
        if len(self.unread) < 9:
            return None
        got, length = hyperframe.frame.Frame.parse_frame_header(memoryview(bytes(self.unread[:9])))
        if len(self.unread) < 9 + length:
            return None
        try:
            got.parse_body(memoryview(bytes(self.unread[9:9 + length])))
        except hyperframe.exceptions.HyperframeError as error:
            raise Failed(f"a malformed frame of the server: {error}") from None
        del self.unread[:9 + length]
        self.first = self.first or got
        self._note(got)
        return got

    def _note(self, got):
        if isinstance(got, hyperframe.frame.SettingsFrame) and "ACK" not in got.flags:
            self.settings.update(got.settings)
            self.send(frame(SETTINGS, ACK, 0))
        if isinstance(got, (hyperframe.frame.HeadersFrame, hyperframe.frame.ContinuationFrame)):
            begun = self.block[1] if self.block else b""
            self.block = (got.stream_id, begun + got.data)
            if "END_HEADERS" in got.flags:
                got.fields = dict(self.decoder.decode(self.block[1]))
                self.block = None

    def wait(self, accept, seconds=PATIENCE):
        """The next frame that is accepted; what comes before it does not count."""
        until, seen = time.monotonic() + seconds, None
        try:
            while (got := self.next(until)) is not None:
                if accept(got):
                    return got
                seen = told(got) or seen
        except TimeoutError:
            raise Failed(seen or "nothing") from None
        raise Failed(seen or "closed")

    def verdict(self, expected, stream=1):
        """The first of: an error of any kind, the end of the connection, a whole answer if that is expected. When there is none,
        the answer that came although an error was expected."""
        until, seen = time.monotonic() + (QUIET if "answered" not in expected else PATIENCE), "nothing"
        try:
            while (got := self.next(until)) is not None:
                error = told(got)
                if error:
                    return error
                status = getattr(got, "fields", {}).get(":status")
                if got.stream_id == stream and status:
                    seen = f"status {status}"
                if got.stream_id == stream and "END_STREAM" in got.flags:
                    seen = "answered" if seen == "status 200" else seen
                    if seen in expected:
                        return seen
        except TimeoutError:
            return seen
        return "closed"

    def end_of(self, stream=1):
        """Reads the answer to its end."""
        self.wait(lambda got: got.stream_id == stream and "END_STREAM" in got.flags)


def told(got):
    """What a frame says is wrong, if it says so."""
    name = {hyperframe.frame.GoAwayFrame: "GOAWAY", hyperframe.frame.RstStreamFrame: "RST_STREAM"}.get(type(got))
    if not name or (name == "GOAWAY" and got.error_code == 0):
        return None
    code = got.error_code
    return f"{name} {CODES[code] if code < len(CODES) else code}"
