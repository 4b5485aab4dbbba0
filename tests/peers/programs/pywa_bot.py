"""A bot on pywa behind FastAPI, as its documentation sets one up; it owns one account and checks signatures."""

import hashlib
import os
import socket

import uvicorn
from fastapi import FastAPI
from pywa import WhatsApp

# Bodies below this length are told in full.
SHOWN = 65536

app = FastAPI()
seen = []
requests = []


class Recorder:
    """Notes each webhook as it came over the wire, before any library has read it."""

    def __init__(self, inner):
        self.inner = inner

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or scope["method"] != "POST":
            return await self.inner(scope, receive, send)
        digest = hashlib.sha256()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        note = {"headers": headers, "length": 0}
        requests.append(note)

        async def counted():
            message = await receive()
            part = message.get("body", b"")
            digest.update(part)
            note["length"] += len(part)
            if note["length"] < SHOWN:
                note["body"] = note.get("body", "") + part.decode("utf-8", "replace")
            note["sha256"] = digest.hexdigest()
            return message

        await self.inner(scope, counted, send)


# Without `callback_url`, which would make it call Meta.
client = WhatsApp(
    phone_id=os.environ["PHONE"],
    token="x",
    server=app,
    webhook_endpoint="/webhook",
    verify_token=os.environ["VERIFY_TOKEN"],
    app_secret=os.environ["APP_SECRET"],
)
# Nothing listens on that port: an answer that a bot sends by mistake goes nowhere.
client.api._session.base_url = "http://127.0.0.1:9/v23.0"


@client.on_message
def message(_, received):
    seen.append(received.id)


@client.on_message_status
def status(_, received):
    seen.append(f"{received.id} {received.status.value}")


app.get("/seen")(lambda: seen)
app.get("/requests")(lambda: requests)

listener = socket.create_server(("127.0.0.1", int(os.environ.get("PORT", "0"))), backlog=512)
print("listening on 127.0.0.1:%d" % listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(Recorder(app), log_level="warning")).run(sockets=[listener])
