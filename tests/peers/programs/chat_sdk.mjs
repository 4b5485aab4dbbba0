// A bot on the Chat SDK's WhatsApp adapter. It takes a while for each message, and what arrives for the same conversation
// meanwhile is dropped by the library, with 200.
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { createMemoryState } from '@chat-adapter/state-memory';
import { createWhatsAppAdapter } from '@chat-adapter/whatsapp';
import { Chat } from 'chat';
import common from './common.cjs';

const whatsapp = createWhatsAppAdapter({
    accessToken: 'x',
    appSecret: process.env.APP_SECRET,
    phoneNumberId: process.env.PHONE,
    verifyToken: process.env.VERIFY_TOKEN,
    apiUrl: 'http://127.0.0.1:9',
    userName: 'bot',
});
const chat = new Chat({ userName: 'bot', adapters: { whatsapp }, state: createMemoryState(), logger: 'error' });
chat.onDirectMessage(async (_thread, message) => {
    await sleep(Number(process.env.HANDLING_MS ?? 50));
    common.seen.push(message.id);
});

common.listen(createServer(async (request, response) => {
    if (common.told(request, response)) return;
    const init = { method: request.method, headers: { 'x-hub-signature-256': request.headers['x-hub-signature-256'] ?? '' } };
    if (request.method === 'POST') {
        init.headers['content-type'] = 'application/json';
        init.body = await common.record(request);
    }
    // Handling goes on behind the answer; a bot that wants the next message only when it is through waits for it.
    const handling = [];
    const options = process.env.ANSWER === 'after' ? { waitUntil: work => handling.push(work) } : undefined;
    const answer = await chat.webhooks.whatsapp(new Request(`http://127.0.0.1${request.url}`, init), options);
    await Promise.allSettled(handling);
    response.statusCode = answer.status;
    response.end(await answer.text());
}));
