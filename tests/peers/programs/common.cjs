// What the masters in Node have in common: a port of the kernel's choice, and what came in the order of handling.
'use strict';

const { createHash } = require('node:crypto');

const seen = [];
const requests = [];

/** Notes a webhook as it came over the wire; resolves with its bytes. */
async function record(request) {
    const note = { headers: request.headers, length: 0 };
    requests.push(note);
    const parts = [];
    for await (const part of request) {
        parts.push(part);
        note.length += part.length;
    }
    const body = Buffer.concat(parts);
    note.sha256 = createHash('sha256').update(body).digest('hex');
    return body;
}

/** Answers `GET /seen` and `GET /requests`, and nothing else. */
function told(request, response) {
    const lists = { '/seen': seen, '/requests': requests };
    const list = request.method === 'GET' ? lists[request.url] : undefined;
    if (list !== undefined) {
        response.setHeader('content-type', 'application/json');
        response.end(JSON.stringify(list));
    }
    return list !== undefined;
}

function listen(server) {
    const listener = server.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => {
        console.log(`listening on 127.0.0.1:${listener.address().port}`);
    });
}

module.exports = { seen, requests, record, told, listen };
