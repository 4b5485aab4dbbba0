//! Keys about WhatsApp webhooks, and about messages that are stored before they are delivered.

use super::super::shape::{List, shape};
use super::super::units::{Bool, Gateway, HttpsUrl, Int, Secret, Size, Text, Time, TimeOrZero, Verify};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

shape! {
    /// What the requests of a route are: webhooks of a WhatsApp gateway.
    struct WhatsApp {
        /// Which gateway sends them.
        provider: Gateway,
        /// The secret that the gateway signs with: Meta's app secret, the HMAC key of WAHA and gowa, the auth token of Twilio, the
        /// JWT key of Evolution, the API key of wwebjs-api. `cloud-api`, `gowa` and `twilio` need it.
        app_secret: Option<Secret>,
        /// A secret that is taken as well, while the other one is being introduced.
        previous_app_secret: Option<Secret>,
        /// `off` takes unsigned webhooks: whoever reaches the listener can then write to the bots in anybody's name.
        signature: Verify = "on",
        /// `cloud-api`: the token that Meta's handshake has to show. Baton answers the handshake itself, also without any master.
        /// Left out, handshakes go to a master.
        verify_token: Option<Secret>,
        /// `twilio`: the URL that the gateway posts to, without its query. Left out, it is made of the request's scheme, host and path.
        public_url: Option<HttpsUrl>,
        /// `cloud-api`: whether a webhook with several updates is delivered as one webhook for each, signed again with `app_secret`. Most bot
        /// libraries read the first update and lose the others.
        split_batches: Bool = "true",
        /// Updates that no master wants; they are answered 200 and counted.
        ignore: Ignore = "{}",
    }

    /// Updates that no master wants.
    struct Ignore {
        /// What became of messages sent: `sent`, `delivered`, `read` and the like.
        statuses: Bool = "false",
        /// Messages that the account itself has sent.
        own_messages: Bool = "false",
        /// Events by the gateway's own words, such as `account_update`, `presence.update` or `message.any`.
        events: List<Text> = "[]",
    }

    /// Deliveries of stored messages to the masters of an upstream.
    struct Redelivery {
        /// Under way at once for each usable master, at most. After an outage it begins with one.
        max_in_flight: Int<1, 10_000> = "32",
        /// Between the end of one delivery and the start of the next in one conversation.
        spacing: TimeOrZero = "0s",
        /// Deliveries of one message that a master did not answer with 2xx. Then it goes to the dead letters.
        attempts: Int<1, 1000> = "6",
        /// Deliveries of one message that ended without any answer, as when it ends the process of each master that reads it.
        /// Then it goes to the dead letters.
        masters: Int<1, 100> = "3",
        /// After the first failed delivery; it doubles with each further one.
        backoff: Time = "1s",
        /// The longest time between two deliveries of a message.
        max_backoff: Time = "5m",
        /// A message not delivered within this time goes to the dead letters.
        max_age: Time = "7d",
    }

    /// Messages that are stored before they are delivered.
    struct Spool {
        /// Room on disk for everything under `state.path` that is stored here. Beyond it webhooks are answered 503.
        max_bytes: Size<{ 16 * MIB }, { 16_384 * GIB }> = "4GiB",
        /// Messages waiting at once. Beyond it webhooks are answered 503.
        max_messages: Int<1, 100_000_000> = "1000000",
        /// Room that is left to others on the same disk. With less webhooks are answered 503.
        min_free: Size<0, { 16_384 * GIB }> = "256MiB",
        /// Messages that come a second time.
        deduplication: Deduplication = "{}",
        /// Messages that were given up on.
        dead_letters: DeadLetters = "{}",
    }

    /// Messages that come a second time are answered 200 and not delivered.
    struct Deduplication {
        /// How long a message is remembered.
        window: Time = "7d",
        /// Messages remembered at once; the oldest are forgotten first.
        max_ids: Int<1000, 1_000_000_000> = "5000000",
    }

    /// Messages that were given up on, kept to be replayed or discarded.
    struct DeadLetters {
        /// How long they are kept.
        max_age: Time = "30d",
        /// Room for them; the oldest go first.
        max_bytes: Size<MIB, { 16_384 * GIB }> = "1GiB",
    }
}
