"""Where the server is known to do something else, what that is, and why it may.

An entry that no longer holds fails the run as well: what is not needed any more goes.
"""

KNOWN = {}


def known(verdict, reason, *names):
    KNOWN.update((name, (verdict, reason)) for name in names)


# The `h2` crate has one code for whatever it cannot read. h2spec itself is content with that, because the connection is closed.
known(
    "GOAWAY PROTOCOL_ERROR",
    "which ends the connection as the error must (RFC 9113 section 5.4.1), under the general code of section 7",
    "http2/4.3/1",
    "http2/6.3/2",
    "http2/6.4/3",
    "http2/6.5/1",
    "http2/6.5/3",
    "http2/6.5.2/2",
    "http2/6.7/4",
    "http2/6.9/3",
    "http2/6.9.2/3",
    "hpack/2.3.3/1",
    "hpack/2.3.3/2",
    "hpack/4.2/1",
    "hpack/5.2/1",
    "hpack/5.2/2",
    "hpack/5.2/3",
    "hpack/6.1/1",
    "hpack/6.3/1",
)
known(
    "GOAWAY PROTOCOL_ERROR",
    "which an endpoint may make of an error of one stream (RFC 9113 section 5.4.2): frames for a stream that the client itself "
    "has ended come from one that has lost count",
    "http2/5.1/5",
    "http2/5.1/6",
    "http2/5.1/9",
    "http2/5.1/12",
    "http2/6.1/2",
)
# That nothing of it gets to a master is tested in tests/it/downgrade.
known(
    "answered",
    "the crate drops the field, so that it can neither be passed on nor mean anything",
    "http2/8.1.2.1/3",
)
