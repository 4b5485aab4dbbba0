"""A gateway that sends webhooks at given moments, whatever the answers do, and writes down what came of each.

Webhooks are Meta's Cloud API's, one message each, signed, of conversations in turn. They are due at exponential intervals
with the same seed for every proxy. A webhook takes a connection that is idle, or a new one, so that those that wait hold
none of the others back. It is sent once: what is not answered 2xx counts as failed.

Writes a line for each webhook: its number, when it was due, when it was sent and when its answer was there, in nanoseconds
of the monotonic clock, and the status; 0 is a connection that broke, or no answer in time.
"""

import argparse
import asyncio
import hashlib
import hmac
import json
import random
import re
import time

SEED = 20
BODY_BYTES = 1000
HEAD = re.compile(rb"HTTP/1\.[01] (\d{3})")
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
CLOSE = re.compile(rb"\r\nconnection:[ \t]*close", re.IGNORECASE)


def webhook(number, conversation, secret):
    message = {"from": f"97150{conversation:07}", "id": f"wamid.{number:010}", "timestamp": "1700000000", "type": "text"}
    message["text"] = {"body": "a" * (BODY_BYTES - 300)}
    value = {"metadata": {"phone_number_id": "106540352242922"}, "messages": [message]}
    entry = {"id": "1", "changes": [{"field": "messages", "value": value}]}
    body = json.dumps({"object": "whatsapp_business_account", "entry": [entry]}, separators=(",", ":")).encode()
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    head = (
        f"POST /webhook HTTP/1.1\r\nHost: bot.example\r\nX-Hub-Signature-256: sha256={signature}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Webhook:
    def __init__(self, number, due, request):
        self.number, self.due, self.request = number, due, request
        self.sent, self.answered, self.status = 0, 0, 0


class Connection(asyncio.Protocol):
    def __init__(self, gateway):
        self.gateway = gateway
        self.buffer = b""
        self.webhook = None
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport

    def send(self, webhook):
        self.webhook = webhook
        webhook.sent = time.monotonic_ns()
        self.transport.write(webhook.request)

    def data_received(self, data):
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0 or self.webhook is None:
            return
        head = self.buffer[:end]
        status, length = HEAD.match(head), LENGTH.search(head)
        if status is None or length is None:
            self.transport.abort()
        elif len(self.buffer) >= end + 4 + int(length[1]):
            self.buffer = b""
            self.settle(int(status[1]))
            if CLOSE.search(head):
                self.transport.close()
            else:
                self.gateway.idle.append(self)

    def settle(self, status):
        webhook, self.webhook = self.webhook, None
        self.gateway.settle(webhook, status)

    def connection_lost(self, _):
        if self in self.gateway.idle:
            self.gateway.idle.remove(self)
        if self.webhook is not None:
            self.settle(0)


class Gateway:
    def __init__(self, port, webhooks):
        self.port = port
        self.webhooks = webhooks
        # The one used last is used next, as pools do.
        self.idle = []
        self.left = len(webhooks)
        self.tasks = set()
        self.done = asyncio.Event()

    def settle(self, webhook, status):
        webhook.answered, webhook.status = time.monotonic_ns(), status
        self.left -= 1
        if self.left == 0:
            self.done.set()

    async def send(self, webhook):
        while self.idle:
            connection = self.idle.pop()
            if not connection.transport.is_closing():
                connection.send(webhook)
                return
        try:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(lambda: Connection(self), "127.0.0.1", self.port)
            connection.send(webhook)
        except OSError:
            self.settle(webhook, 0)

    async def run(self, grace):
        for webhook in self.webhooks:
            pause = (webhook.due - time.monotonic_ns()) / 1e9
            # Also when it is late, so that answers are read in between.
            await asyncio.sleep(max(0, pause))
            task = asyncio.ensure_future(self.send(webhook))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        try:
            await asyncio.wait_for(self.done.wait(), grace)
        except asyncio.TimeoutError:
            pass


def planned(begin, rate, seconds, conversations, secret):
    """The webhooks, each with the moment when it is due."""
    moments, at = random.Random(SEED), 0.0
    found = []
    while True:
        at += moments.expovariate(rate)
        if at >= seconds:
            return found
        number = len(found)
        found.append(Webhook(number, begin + int(at * 1e9), webhook(number, number % conversations, secret)))


async def run(chosen):
    webhooks = planned(chosen.begin, chosen.rate, chosen.seconds, chosen.conversations, chosen.secret)
    await Gateway(chosen.port, webhooks).run(chosen.grace)
    for each in webhooks:
        print(each.number, each.due, each.sent, each.answered, each.status)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--begin", type=int, required=True, help="by the monotonic clock, in nanoseconds")
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--conversations", type=int, required=True)
    parser.add_argument("--secret", required=True)
    parser.add_argument("--grace", type=float, default=20.0, help="for the last answers")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
