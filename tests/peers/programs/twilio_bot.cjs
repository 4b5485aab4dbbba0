// A bot for Twilio on Express: the library's middleware refuses whatever is not signed for the public URL.
'use strict';

const express = require('express');
const twilio = require('twilio');
const common = require('./common.cjs');

const app = express();
// Behind a proxy that tells the public scheme.
app.set('trust proxy', 'loopback');
app.use((request, response, next) => { if (!common.told(request, response)) next(); });
app.use((request, _response, next) => {
    common.requests.push({ headers: request.headers });
    next();
});
app.use(express.urlencoded({ extended: false }));
app.post(/.*/, twilio.webhook(process.env.APP_SECRET), (request, response) => {
    common.seen.push(request.body.MessageSid);
    response.type('text/xml').send('<?xml version="1.0" encoding="UTF-8"?><Response><Message>ok</Message></Response>');
});

common.listen(app);
