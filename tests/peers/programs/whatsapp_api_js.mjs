// A bot on whatsapp-api-js with its middleware for node:http, which reads the request itself: it refuses chunked bodies
// and compares the signature with the bytes that it has read.
import { createServer } from 'node:http';
import { WhatsAppAPI } from 'whatsapp-api-js/middleware/node-http';
import common from './common.cjs';

const api = new WhatsAppAPI({
    token: 'x',
    appSecret: process.env.APP_SECRET,
    webhookVerifyToken: process.env.VERIFY_TOKEN,
    v: 'v23.0',
});
api.on.message = ({ message }) => { common.seen.push(message.id); };
api.on.status = ({ id, status }) => { common.seen.push(`${id} ${status}`); };

common.listen(createServer(async (request, response) => {
    if (common.told(request, response)) return;
    if (request.method === 'GET') {
        try {
            response.end(api.handle_get(request));
        } catch (status) {
            response.statusCode = typeof status === 'number' ? status : 500;
            response.end();
        }
        return;
    }
    common.requests.push({ headers: request.headers });
    response.statusCode = await api.handle_post(request);
    response.end();
}));
