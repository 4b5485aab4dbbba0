//! A webhook, opened: its sender checked, its updates found, and each with where it is to go.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use super::record::Keeper;
use super::{Parcel, is_ignored};
use crate::balance::Place;
use crate::balance::affinity::Pins;
use crate::clock::{self, Micros};
use crate::config::model::{AffinityKey, Delivery, WhatsApp};
use crate::exchange::headers;
use crate::exchange::local::Generation;
use crate::exchange::pick::Aim;
use crate::http::request::Framing;
use crate::limits::guard::Turned;
use crate::proxy::http::prepare::{Prepared, Proof};
use crate::snapshot::{Takers, Upstream};
use crate::spool::Spool;
use crate::spool::record::Incoming;
use crate::telemetry::hot::{RouteSlot, Webhook};
use crate::whatsapp::signature::{self, Signed};
use crate::whatsapp::{Kind, Part, Update, aliases::Aliases, country, decode, write_part};

/// What came of it.
#[derive(Debug)]
pub enum Opened<'g> {
    /// Its sender is not who it says.
    Forged,
    /// Its account has sent more than it may.
    Limited(Turned),
    /// No master wants anything of it.
    Ignored,
    /// It goes on as it came.
    Whole(Aim<'g>),
    /// The same; what no master takes is stored as this.
    WholeOrStored(Aim<'g>, Box<Incoming>),
    /// Its updates go on one by one.
    Split(Vec<Parcel<'g>>),
    /// They are stored.
    Stored(Vec<Incoming>),
}

/// A webhook as it came.
#[derive(Debug)]
pub struct Sealed<'a> {
    pub rules: &'a WhatsApp,
    pub prepared: &'a Prepared,
    pub delivery: Delivery,
    pub proof: &'a Proof,
    /// The head for masters.
    pub head: &'a [u8],
    pub body: &'a [u8],
}

impl Sealed<'_> {
    /// Opens it.
    pub fn open<'g>(&self, generation: &'g Generation) -> Opened<'g> {
        let Self { rules, prepared, body, .. } = self;
        if rules.signature && !self.is_genuine() {
            return Opened::Forged;
        }
        let counters = generation.guarded(prepared.route);
        let count = |what| {
            if let Some(counters) = counters {
                counters.increment(RouteSlot::Webhook(what));
            }
        };
        let upstream = &*generation.upstreams[prepared.upstream].shared;
        let plain = Aim { key: prepared.key, pin: prepared.pin, ..Aim::default() };
        let keeper = self.keeper(generation);
        let mut updates = Vec::with_capacity(1);
        if decode(rules.provider, body, &mut updates).is_err() {
            // Whoever wrote it knows what it means; a master may, too.
            count(Webhook::Undecodable);
            return self.whole(plain, keeper.map(|keeper| keeper.body(self, None, None)), false);
        }
        if let Some(guard) = &generation.snapshot.guards[prepared.route] {
            let mut before = None;
            for account in updates.iter().filter_map(|update| update.account.as_deref()) {
                if before.replace(account) != Some(account)
                    && let Err(turned) = guard.check_account(account, clock::now())
                {
                    return Opened::Limited(turned);
                }
            }
        }
        let wanted = |update: &Update<'_>| !is_ignored(&rules.ignore, update.kind, &update.event);
        let all = updates.len();
        if rules.split_batches || all == 1 || !updates.iter().any(wanted) {
            updates.retain(wanted);
        }
        (updates.len()..all).for_each(|_| count(Webhook::Ignored));
        updates.iter().for_each(|update| count(counted(update.kind)));
        let aliases = &generation.snapshot.aliases;
        let spool = generation.snapshot.spool.as_ref();
        let aim = |update: &Update<'_>| aim(plain, aliases, spool, upstream, update);
        match (&updates[..], keeper) {
            ([], _) => Opened::Ignored,
            ([only], keeper) if all == 1 && only.part == Part::Whole => {
                let (aim, conversation, behind) = aim(only);
                self.whole(aim, keeper.map(|keeper| keeper.update(self, only, conversation)), behind)
            }
            ([first, ..], keeper) if !rules.split_batches => {
                let (aim, conversation, behind) = aim(first);
                self.whole(aim, keeper.map(|keeper| keeper.body(self, Some(first), conversation)), behind)
            }
            (updates, None) => Opened::Split(updates.iter().map(|update| self.parcel(update, aim(update))).collect()),
            (updates, Some(keeper)) => {
                Opened::Stored(updates.iter().map(|update| keeper.update(self, update, aim(update).1)).collect())
            }
        }
    }

    /// Goes on as it came, or is stored so; `behind` others that are.
    fn whole<'g>(&self, aim: Aim<'g>, record: Option<Incoming>, behind: bool) -> Opened<'g> {
        match (record, self.delivery) {
            (None, _) | (_, Delivery::Inline) => Opened::Whole(aim),
            (Some(record), Delivery::Spool) => Opened::Stored(vec![record]),
            (Some(record), Delivery::InlineThenSpool { .. }) if behind => Opened::Stored(vec![record]),
            (Some(record), Delivery::InlineThenSpool { .. }) => Opened::WholeOrStored(aim, Box::new(record)),
        }
    }

    fn keeper<'g>(&self, generation: &'g Generation) -> Option<Keeper<'g>> {
        let stores = self.delivery != Delivery::Inline;
        let store = &generation.snapshot.spool.as_ref().filter(|_| stores)?.store;
        let config = &generation.snapshot.config;
        let (route, upstream) = (&config.routes[self.prepared.route], &config.upstreams[self.prepared.upstream]);
        Some(Keeper { store, route: Arc::from(&*route.name), upstream: Arc::from(&*upstream.name) })
    }

    fn is_genuine(&self) -> bool {
        let Proof { value, times, url } = self.proof;
        let values = [&value[..]; 2];
        let signed = Signed { body: self.body, values: &values[..usize::from((*times).min(2))], url };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        signature::verify(self.rules.provider, &self.rules.secrets, &signed, now).is_ok()
    }

    fn parcel<'g>(&self, update: &Update<'_>, (aim, conversation, _): Aimed<'g>) -> Parcel<'g> {
        let (head, body) = self.part(update, true);
        Parcel { aim, conversation, head, body }
    }

    /// An update alone: its head, with the length if `framed`, and its body. Both are signed anew.
    pub(super) fn part(&self, update: &Update<'_>, framed: bool) -> (Bytes, Bytes) {
        let provider = self.rules.provider;
        let mut body = Vec::new();
        write_part(provider, self.body, &update.part, &mut body);
        let signer = signature::header(provider).zip(self.rules.secrets.first());
        let signed = signer.map(|(name, secret)| (name, signature::sign_cloud_api(secret.as_ref(), &body)));
        let mut head = Vec::with_capacity(self.head.len() + 128);
        let line = signed.as_ref().map(|(name, value)| (*name, &value[..]));
        let framing = if framed { Framing::Length(body.len() as u64) } else { Framing::None };
        headers::write_framed(self.head, line, framing, &mut head);
        (head.into(), body.into())
    }
}

/// How an update is counted.
fn counted(kind: Kind) -> Webhook {
    match kind {
        Kind::Message => Webhook::Message,
        Kind::Own => Webhook::Own,
        Kind::Status => Webhook::Status,
        Kind::Event => Webhook::Event,
    }
}

/// Where an update is to go, its conversation, and whether something stored comes before it that was another conversation's until now.
type Aimed<'g> = (Aim<'g>, Option<u64>, bool);

fn aim<'g>(
    plain: Aim<'static>,
    aliases: &Aliases,
    spool: Option<&Spool>,
    upstream: &'g Upstream,
    update: &Update<'_>,
) -> Aimed<'g> {
    let now = clock::now();
    let learnt = aliases.learn(update.account.as_deref().unwrap_or_default(), update, now);
    let conversation = learnt.as_ref().map(|learnt| learnt.conversation);
    let behind =
        learnt.as_ref().zip(spool).is_some_and(|(learnt, spool)| spool.join(learnt.merged(), learnt.conversation));
    let Takers { allowed, owner } = upstream.takers(update.account.as_deref(), update.kind == Kind::Event);
    let mut aim = Aim { allowed, owner, conversation, ..plain };
    if upstream.settings.affinity.as_ref().is_some_and(|affinity| affinity.key == AffinityKey::Conversation) {
        if let (Some(pins), Some(learnt)) = (&upstream.pins, &learnt) {
            learnt.merged().iter().for_each(|ended| follow(pins, *ended, learnt.conversation, now));
        }
        aim.pin = conversation;
        aim.key.hash = conversation;
    }
    if aim.key.place.is_none() {
        aim.key.place = country::country_of(update).and_then(|country| Place::parse(Some(&country), None));
    }
    aim.preferred = update.master.as_deref().and_then(|name| upstream.position_of(name));
    (aim, conversation, behind)
}

/// Takes the pin of a conversation that ended over to the one that it is now, unless that has one.
fn follow(pins: &Pins, ended: u64, conversation: u64, now: Micros) {
    if let Some(master) = pins.get(ended, now) {
        pins.get_or_set(conversation, master, now);
    }
}
