//! Keys about who is told of alerts.

use super::super::shape::{List, shape};
use super::super::units::{
    Bool, Email, FilePath, Int, KnownLabel, MailServer, MailTls, Name, Secret, SecretUrl, SeverityWord, Text, Time,
    TimeOrZero, Times, WebUrl,
};

shape! {
    /// Who is told of alerts, and how: exactly one of `webhook`, `slack`, `alertmanager` and `email`. An alert is told when it is raised, when it comes to
    /// matter more, and when it ends; not while it is silenced.
    struct Receiver {
        /// What it is called in metrics, in the log and by `baton ctl alerts test`, unique among receivers.
        name: Name,
        /// A program that is sent a POST of JSON.
        webhook: Option<ReceiverWebhook>,
        /// A channel of Slack, or of what takes Slack's webhooks, such as Mattermost and Rocket.Chat.
        slack: Option<ReceiverSlack>,
        /// An Alertmanager of Prometheus, which groups, repeats and limits by itself.
        alertmanager: Option<ReceiverAlertmanager>,
        /// People, by e-mail.
        email: Option<ReceiverEmail>,
        /// Only alerts that matter so much, or more.
        severity: SeverityWord = "info",
        /// Only alerts with these labels, all of them. Left out, every alert.
        r#match: List<ReceiverMatch> = "[]",
        /// Alerts with the same values of these labels are told together. Empty, all are.
        group_by: List<KnownLabel> = "[upstream]",
        /// How long the first alert of a group waits for others.
        group_wait: TimeOrZero = "500ms",
        /// After how long it is reminded of an alert that goes on and that nobody has acknowledged. Zero is never.
        repeat: TimeOrZero = "4h",
        /// Whether it is told that an alert has ended.
        resolved: Bool = "true",
        /// How many notifications it gets. What comes beyond that is told in one as soon as there is room again.
        rate: Times = "60/h",
        /// What one attempt may take.
        timeout: Time = "5s",
        /// Attempts for one notification. The pauses between them are 1 s at first and double up to a minute. What then is not told is tried
        /// again after five minutes, as long as the alert goes on.
        attempts: Int<1, 100> = "5",
    }

    /// A program that is sent a POST of JSON.
    struct ReceiverWebhook {
        /// Where it is. Over plain `http` everybody on the way reads the alerts.
        url: WebUrl,
        /// Signs each body: `X-Hub-Signature-256: sha256=` and the HMAC-SHA-256 of its bytes, in hexadecimal digits. Left out, nothing is signed.
        secret: Option<Secret>,
        /// Authorities of its certificate, in PEM. Left out, those of the system.
        ca: Option<FilePath>,
    }

    /// A channel of Slack, or of what takes Slack's webhooks.
    struct ReceiverSlack {
        /// Of the incoming webhook. Whoever knows it can write to the channel, so it is shown to nobody.
        url: SecretUrl,
        /// Authorities of its certificate, in PEM. Left out, those of the system.
        ca: Option<FilePath>,
    }

    /// An Alertmanager. It is told each change and, each minute, all alerts that go on.
    struct ReceiverAlertmanager {
        /// Where it is, without `/api/v2/alerts`.
        url: WebUrl,
        /// Authorities of its certificate, in PEM. Left out, those of the system.
        ca: Option<FilePath>,
    }

    /// People who are sent e-mail.
    struct ReceiverEmail {
        /// Their addresses.
        to: List<Email>,
        /// Whom it is from.
        from: Email,
        /// The server that takes it, as `host:port`; usually port 587, or 465 with `tls: implicit`.
        server: MailServer,
        /// How the connection is secured: `starttls` asks for TLS and sends nothing without it, `implicit` begins with it, and with `off` everybody on
        /// the way reads along.
        tls: MailTls = "starttls",
        /// Whom the server knows. Left out, nobody logs in.
        username: Option<Text>,
        /// Of that user.
        password: Option<Secret>,
        /// Authorities of its certificate, in PEM. Left out, those of the system.
        ca: Option<FilePath>,
    }

    /// A label that alerts must have.
    struct ReceiverMatch {
        /// `alertname` (the rule), `severity`, `upstream`, `master`, `route`, `name`, or one that a rule gives.
        label: KnownLabel,
        /// Its value; `*` in it is any text.
        value: Text,
    }
}
