// A bot on whatsapp-cloud-api. A single `account_update` ends its process: an exception in an async handler of Express 4.
'use strict';

const path = require('node:path');
const { createBot } = require('whatsapp-cloud-api');
const common = require('./common.cjs');

const library = path.dirname(require.resolve('whatsapp-cloud-api/package.json'));
const express = require(require.resolve('express', { paths: [library] }));
const app = express();
app.use((request, response, next) => { if (!common.told(request, response)) next(); });
app.use((request, _response, next) => {
    if (request.method === 'POST') common.requests.push({ headers: request.headers });
    next();
});

async function main() {
    const bot = createBot(process.env.PHONE, 'x');
    await bot.startExpressServer({ app, webhookPath: '/webhook', webhookVerifyToken: process.env.VERIFY_TOKEN });
    bot.on('message', message => { common.seen.push(message.id); });
    common.listen(app);
}

main();
