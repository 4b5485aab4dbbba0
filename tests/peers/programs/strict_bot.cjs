// A bot that answers 400 to a status `failed` and 200 to everything else, as BuilderBot's Meta provider does.
'use strict';

const { createServer } = require('node:http');
const common = require('./common.cjs');

common.listen(createServer(async (request, response) => {
    if (common.told(request, response)) return;
    const body = JSON.parse(await common.record(request) || '{}');
    const value = body.entry?.[0]?.changes?.[0]?.value ?? {};
    for (const message of value.messages ?? []) common.seen.push(message.id);
    for (const status of value.statuses ?? []) common.seen.push(`${status.id} ${status.status}`);
    const failed = (value.statuses ?? []).some(status => status.status === 'failed');
    response.statusCode = failed ? 400 : 200;
    response.end();
}));
