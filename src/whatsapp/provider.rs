//! The gateways that are understood.

/// Who sends webhooks, and so what they look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Provider {
    /// Meta's, and those that pass its webhooks on as they are, such as 360dialog.
    CloudApi,
    Waha,
    Evolution,
    Wppconnect,
    /// wwebjs-api and whatsapp-api.
    Wwebjs,
    /// go-whatsapp-web-multidevice.
    Gowa,
    Twilio,
}

impl Provider {
    /// Each with its name in configurations, logs and metrics.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::CloudApi, "cloud-api"),
        (Self::Waha, "waha"),
        (Self::Evolution, "evolution"),
        (Self::Wppconnect, "wppconnect"),
        (Self::Wwebjs, "wwebjs-api"),
        (Self::Gowa, "gowa"),
        (Self::Twilio, "twilio"),
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(known, _)| *known == self).map_or("", |(_, name)| name)
    }
}
