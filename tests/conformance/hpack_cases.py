"""What must not be decoded: h2spec's HPACK sections 2 to 6 (RFC 7541)."""

from cases import case, connection_error
from wire import END_HEADERS, END_STREAM, HEADER_TABLE_SIZE, HEADERS, frame

REFUSED = connection_error("COMPRESSION_ERROR")
# The text "test" in Huffman's code ends in the middle of a byte, with four bits of padding.
CODED = b"\x49\x50\x9f"


def block(c, before=b"", behind=b""):
    return [frame(HEADERS, END_STREAM | END_HEADERS, 1, before + c.encode(c.request()) + behind)]


def field(value):
    """A literal without indexing, its name `a`, its value in Huffman's code."""
    return b"\x00\x01a" + bytes([0x80 | len(value)]) + value


@case("hpack/2.3.3", "an index beyond both tables", REFUSED)
def _(c):
    return block(c, behind=b"\xc6")


@case("hpack/2.3.3", "a literal whose name has an index beyond both tables", REFUSED)
def _(c):
    return block(c, behind=b"\x7f\x07\x00")


@case("hpack/4.2", "a change of the table's size at the end of a block", REFUSED)
def _(c):
    return block(c, behind=b"\x21")


@case("hpack/5.2", "Huffman's code with more than seven bits of padding", REFUSED)
def _(c):
    return block(c, behind=field(CODED + b"\xff"))


@case("hpack/5.2", "Huffman's code with padding of zeros", REFUSED)
def _(c):
    return block(c, behind=field(CODED[:2] + b"\x90"))


@case("hpack/5.2", "Huffman's code with the end of the string in it", REFUSED)
def _(c):
    return block(c, behind=field(CODED + b"\xff\xff\xff\xff"))


@case("hpack/6.1", "index 0", REFUSED)
def _(c):
    return block(c, behind=b"\x80")


@case("hpack/6.3", "a table larger than was offered", REFUSED)
def _(c):
    more = c.settings[HEADER_TABLE_SIZE] + 1 - 31
    update = [0x3F]
    while more >= 128:
        update.append(0x80 | more & 0x7F)
        more >>= 7
    return block(c, before=bytes(update + [more]))
