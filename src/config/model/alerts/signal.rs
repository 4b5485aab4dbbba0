//! What alerts can be about: the numbers that Baton has about itself each second.

/// What a signal is measured of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    System,
    Upstream,
    Master,
    Route,
    /// Something else that has a name: a certificate, a webhook, a receiver of alerts.
    Named,
}

impl Scope {
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Upstream => "upstream",
            Self::Master => "master",
            Self::Route => "route",
            Self::Named => "name",
        }
    }
}

macro_rules! signals {
    ($($(#[doc = $doc:literal])+ $variant:ident $word:literal [$($scope:ident)+] $unit:literal $sentence:literal;)+) => {
        /// A number that Baton has about itself.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Signal { $($(#[doc = $doc])+ $variant),+ }

        impl Signal {
            /// Each with the word a configuration uses for it.
            pub const ALL: [(Self, &'static str); [$($word),+].len()] = [$((Self::$variant, $word)),+];

            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// What it is measured of; the first is meant where nothing is said.
            #[must_use]
            pub fn scopes(self) -> &'static [Scope] {
                match self { $(Self::$variant => &[$(Scope::$scope),+]),+ }
            }

            /// Empty for a count, and for what is 0 or 1.
            #[must_use]
            pub fn unit(self) -> &'static str {
                match self { $(Self::$variant => $unit),+ }
            }

            /// What it is, for people.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+)),+ }
            }

            fn template(self) -> &'static str {
                match self { $(Self::$variant => $sentence),+ }
            }
        }
    };
}

signals! {
    /// Masters that requests may go to.
    UsableMasters "usable-masters" [Upstream] "" "{value} masters of {of} can be used";
    /// 1 while a master refuses connections or fails its probes; not measured while an operator has taken it out.
    MasterFailed "master-failed" [Master] "" "{of} has failed";
    /// 1 while a master's circuit is open.
    CircuitOpen "circuit-open" [Master] "" "the circuit of {of} is open";
    /// Changes of a master's health in the last ten minutes.
    HealthChanges "health-changes" [Master] "" "the health of {of} has changed {value} times in ten minutes";
    /// Failures of a master since its last success.
    FailuresInRow "failures-in-row" [Master] "" "{of} has failed {value} times in a row";
    /// 1 while a master that failed too often is not tried any more, until a reset.
    RecoveryGivenUp "recovery-given-up" [Master] "" "{of} failed too often and stays out until it is reset";
    /// Masters that could take over now, in the group that has the fewest.
    Standbys "standbys" [Upstream] "" "{value} masters could take over in {of}";
    /// Groups of accounts that nobody serves and nobody can take over.
    StuckGroups "stuck-groups" [Upstream] "" "{value} groups of accounts of {of} are served by nobody, and nobody can take over";
    /// Failovers in the last ten minutes.
    Failovers "failovers" [Upstream] "" "{value} failovers of {of} in ten minutes";
    /// Share of requests that failed in the last minute; not measured below twenty requests.
    ErrorPercent "error-percent" [Upstream Route Master System] "%" "{value} % of the requests of {of} fail";
    /// 99th percentile of the time that requests take, over the last ten to twenty seconds.
    LatencyP99 "latency-p99" [Upstream Route Master System] "ms" "one in a hundred requests of {of} takes longer than {value} ms";
    /// Median of the time that requests take, over the last ten to twenty seconds.
    LatencyP50 "latency-p50" [Upstream Route Master System] "ms" "half of the requests of {of} take longer than {value} ms";
    /// Requests a second, over the last ten.
    RequestRate "request-rate" [Upstream Route Master System] "/s" "{of} gets {value} requests a second";
    /// Requests under way.
    InFlight "in-flight" [Upstream Master System] "" "{value} requests of {of} are under way";
    /// Requests that wait for a master to have room.
    Queued "queued" [Upstream Master System] "" "{value} requests of {of} wait for room";
    /// How well load is spread over the masters, 0 to 100; not measured where it is not meant to be.
    Distribution "distribution" [Upstream] "" "the load of {of} is spread badly: {value} of 100";
    /// Retries that the retry budget did not allow in the last minute.
    RetriesRefused "retries-refused" [Upstream] "" "{value} retries of {of} were over its budget in a minute";
    /// Health score, 0 to 100.
    HealthScore "health-score" [System Upstream Master] "" "the health score of {of} is {value}";
    /// Stored messages that wait.
    Backlog "backlog" [System] "" "{value} stored messages wait";
    /// Age of the oldest stored message that waits.
    BacklogAge "backlog-age" [System] "s" "a stored message has waited for {value} s";
    /// Stored messages that wait, compared with five minutes ago, for each minute in between.
    BacklogGrowth "backlog-growth" [System] "/min" "the backlog grows by {value} messages a minute";
    /// Messages that were given up in the last ten minutes.
    DeadLettersNew "dead-letters-new" [System] "" "{value} messages were given up in ten minutes";
    /// Messages that were given up and wait for somebody to decide.
    DeadLetters "dead-letters" [System] "" "{value} messages were given up and wait for a decision";
    /// 1 once the store has failed.
    SpoolFailed "spool-failed" [System] "" "no message can be stored until Baton is started again";
    /// 1 while there is no room for further messages.
    SpoolFull "spool-full" [System] "" "there is no room for further messages";
    /// Used part of the room that messages may take on disk.
    DiskPercent "disk-percent" [System] "%" "stored messages take {value} % of their room on disk";
    /// Days until a certificate ends; below zero once it has.
    CertificateDays "certificate-days" [Named] "d" "the certificate for {of} ends in {value} days";
    /// Listeners whose certificate files cannot be used any more.
    CertificatesStale "certificates-stale" [System] "" "{value} certificates are kept although their files cannot be used any more";
    /// 1 while the newest configuration is refused and an older one is in use.
    ConfigRejected "config-rejected" [System] "" "the newest configuration was refused; an older one is in use";
    /// Lines that the access log has lost in the last minute.
    LogLinesLost "log-lines-lost" [System] "" "the access log has lost {value} lines in a minute";
    /// Events that a webhook was not told in the last ten minutes.
    WebhookUntold "webhook-untold" [Named] "" "{of} was not told {value} events in ten minutes";
    /// Notifications of alerts that a receiver was not told in the last ten minutes.
    ReceiverUntold "receiver-untold" [Named] "" "{of} was not told of alerts {value} times in ten minutes";
    /// Records of the audit trail that were lost in the last ten minutes, and 1 while nothing can be written.
    AuditUnwritten "audit-unwritten" [System] "" "changes are not written to the audit trail";
    /// 1 when the audit trail is not what was written.
    AuditDamaged "audit-damaged" [System] "" "the audit trail is not what was written";
    /// 1 while failovers cannot be written down.
    JournalFailed "journal-failed" [System] "" "failovers cannot be written down; a restart would not know of the last ones";
}

impl Signal {
    /// A sentence without an end about what has this value.
    #[must_use]
    pub fn sentence(self, of: &str, value: f64) -> String {
        self.template().replace("{of}", of).replace("{value}", &shown(value))
    }
}

/// A value with as many digits as people want to read.
#[must_use]
pub fn shown(value: f64) -> String {
    if value.abs() >= 100.0 || value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}
