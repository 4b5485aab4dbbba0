// Sends webhooks as the self-hosted gateways do, with axios and its defaults. Reads one JSON object a line from standard
// input, `{ url, body, headers?, timeout? }`, and writes the outcome of each as a line, in the order of sending.
'use strict';

const readline = require('node:readline');
const axios = require('axios');

async function main() {
    console.log('ready');
    for await (const line of readline.createInterface({ input: process.stdin })) {
        const { url, body, headers = {}, timeout = 30_000 } = JSON.parse(line);
        let outcome;
        try {
            const answer = await axios.post(url, body, { headers, timeout });
            outcome = { status: answer.status };
        } catch (error) {
            outcome = { status: error.response?.status ?? 0, error: error.code ?? error.message };
        }
        console.log(JSON.stringify(outcome));
    }
}

main();
