"""A bot that writes down what it reads and answers, and that can be told to fail.

Each webhook takes it `--work` seconds, so that some are under way at any moment, and what becomes of those in a fault is
seen. The journal has a line for each event, written before the event can be seen from outside, and outlives SIGKILL:
nanoseconds of the monotonic clock, what happened, and the number in the message's id.

    read      the webhook is here whole
    answered  the 200 is about to be sent
    refused   the 503 is about to be sent

SIGUSR1  closes the listening socket; what is under way is answered, then its connection is closed, too.
SIGUSR2  answers webhooks 503 from now on; /health stays well.
SIGHUP   answers /health 503 from now on; webhooks are answered as before.
"""

import argparse
import asyncio
import os
import re
import signal
import time

READ, ANSWERED, REFUSED = "read", "answered", "refused"
NUMBER = re.compile(rb'"wamid\.(\d+)"')
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
# Larger than any head or webhook here.
MOST_BYTES = 64 * 1024


class Bot:
    def __init__(self, journal, work):
        self.journal = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.work = work
        self.server = None
        self.connections = set()
        self.closing = self.failing = self.unwell = False

    def note(self, event, number):
        os.write(self.journal, f"{time.monotonic_ns()} {event} {number}\n".encode())

    def close(self):
        self.closing = True
        self.server.close()
        for connection in list(self.connections):
            connection.close_if_idle()

    def fail(self):
        self.failing = True

    def be_unwell(self):
        self.unwell = True


class Connection(asyncio.Protocol):
    """One request at a time, as the proxies send them."""

    def __init__(self, bot):
        self.bot = bot
        self.buffer = b""
        self.busy = False
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport
        self.bot.connections.add(self)

    def connection_lost(self, _):
        self.bot.connections.discard(self)

    def close_if_idle(self):
        if not (self.busy or self.buffer):
            self.transport.close()

    def data_received(self, data):
        self.buffer += data
        self.advance()

    def advance(self):
        end = self.buffer.find(b"\r\n\r\n")
        if self.busy or end < 0:
            return
        head = self.buffer[:end]
        length = LENGTH.search(head)
        whole = end + 4 + (int(length[1]) if length else 0)
        if whole > MOST_BYTES or (head.startswith(b"POST") and not length):
            # Closing shows in the results as a failed request.
            self.transport.abort()
            return
        if len(self.buffer) < whole:
            return
        body, self.buffer = self.buffer[end + 4 : whole], self.buffer[whole:]
        number = NUMBER.search(body)
        if number is None:
            self.answer(503 if self.bot.unwell else 200)
            return
        self.busy = True
        number = int(number[1])
        if not self.bot.failing:
            self.bot.note(READ, number)
        asyncio.get_running_loop().call_later(self.bot.work, self.finish, number, self.bot.failing)

    def finish(self, number, failing):
        self.busy = False
        self.bot.note(REFUSED if failing else ANSWERED, number)
        self.answer(503 if failing else 200)
        self.advance()

    def answer(self, status):
        if self.transport.is_closing():
            return
        text, body = {200: ("OK", b"ok"), 503: ("Service Unavailable", b"no")}[status]
        close = "Connection: close\r\n" if self.bot.closing else ""
        head = f"HTTP/1.1 {status} {text}\r\nContent-Type: text/plain\r\n{close}Content-Length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)
        if self.bot.closing:
            self.transport.close()


async def serve(port, bot):
    loop = asyncio.get_running_loop()
    bot.server = await loop.create_server(lambda: Connection(bot), "127.0.0.1", port, backlog=4096)
    loop.add_signal_handler(signal.SIGUSR1, bot.close)
    loop.add_signal_handler(signal.SIGUSR2, bot.fail)
    loop.add_signal_handler(signal.SIGHUP, bot.be_unwell)
    await asyncio.Event().wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--journal", required=True)
    parser.add_argument("--work", type=float, required=True, metavar="SECONDS")
    chosen = parser.parse_args()
    asyncio.run(serve(chosen.port, Bot(chosen.journal, chosen.work)))


if __name__ == "__main__":
    main()
