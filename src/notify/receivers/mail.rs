//! One e-mail, handed to its server, and again as long as that fails.

use std::time::Duration;

use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use crate::config::model::{Email, MailTls, Secret};
use crate::ids::random_u64;
use crate::notify::letters::plain;
use crate::notify::retry::pause;

/// Ready to be used.
pub struct Mail {
    server: AsyncSmtpTransport<Tokio1Executor>,
    timeout: Duration,
    attempts: u32,
}

impl Mail {
    /// Reads what is needed; connects to nobody yet.
    ///
    /// # Errors
    /// Why the server cannot be reached.
    pub fn open(email: &Email, timeout: Duration, attempts: u32) -> Result<Self, String> {
        let tls = match email.tls {
            MailTls::Off => Tls::None,
            MailTls::Starttls => Tls::Required(parameters(email)?),
            MailTls::Implicit => Tls::Wrapper(parameters(email)?),
        };
        let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&email.host);
        let mut builder = builder.port(email.port).tls(tls).timeout(Some(timeout));
        if let Some((name, Secret(password))) = &email.login {
            builder = builder.credentials(Credentials::new(name.clone(), password.clone()));
        }
        Ok(Self { server: builder.build(), timeout, attempts })
    }

    /// Sends a message until the server takes it; `failed` hears of each attempt that failed and is followed by another one.
    ///
    /// # Errors
    /// Why the last attempt failed.
    pub async fn deliver(&self, message: &Message, failed: impl Fn(u32, &str)) -> Result<(), String> {
        let mut attempt = 1;
        loop {
            match self.attempt(message).await {
                Ok(()) => return Ok(()),
                Err(reason) if attempt >= self.attempts => return Err(reason),
                Err(reason) => failed(attempt, &reason),
            }
            tokio::time::sleep(pause(attempt, random_u64())).await;
            attempt += 1;
        }
    }

    async fn attempt(&self, message: &Message) -> Result<(), String> {
        match tokio::time::timeout(self.timeout, self.server.send(message.clone())).await {
            Ok(Ok(_)) => Ok(()),
            // It has words of the server's in it.
            Ok(Err(error)) => Err(plain(&error.to_string())),
            Err(_) => Err(format!("not taken within {} s", self.timeout.as_secs_f32())),
        }
    }
}

fn parameters(email: &Email) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(email.host.clone());
    if let Some(file) = &email.ca {
        let problem = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let pem = std::fs::read(file).map_err(|error| problem(&error))?;
        let authorities = Certificate::from_pem(&pem).map_err(|error| problem(&error))?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(authorities);
    }
    builder.build_rustls().map_err(|error| error.to_string())
}
