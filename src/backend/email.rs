//! Notifications by e-mail.

use std::fmt;
use std::time::Duration;

use lettre::message::{Mailbox, header};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{Message, SmtpTransport, Transport};
use serde::{Deserialize, Serialize};

use super::{text, title};
use crate::alert::{AlertSink, Notification};
use crate::error::{Error, Result, Retry};

/// Parameters of an [`EmailSink`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailConfig {
    /// Name of the SMTP server.
    pub server: String,
    /// Its port: 465 for TLS from the start, 587 for STARTTLS.
    pub port: u16,
    /// How the connection is protected.
    pub tls: EmailTls,
    /// User and password; `None` for a server that asks for none.
    #[serde(default)]
    pub credentials: Option<(String, String)>,
    /// Sender, such as `risk alerts <alerts@example.com>`.
    pub from: String,
    /// Receivers.
    pub to: Vec<String>,
    /// Time for each step of an attempt.
    pub timeout: Duration,
}

/// How the connection to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmailTls {
    /// TLS from the first byte.
    Implicit,
    /// TLS after a greeting; a server that does not offer it is refused.
    StartTls,
    /// None: only for a relay on the same host. Refused together with credentials.
    None,
}

impl EmailConfig {
    /// TLS from the start, on port 465, ten seconds a step.
    pub fn new(server: &str, from: &str, to: &[&str]) -> Self {
        EmailConfig {
            server: server.to_owned(),
            port: 465,
            tls: EmailTls::Implicit,
            credentials: None,
            from: from.to_owned(),
            to: to.iter().map(|to| (*to).to_owned()).collect(),
            timeout: Duration::from_secs(10),
        }
    }
}

/// Without the password.
impl fmt::Debug for EmailConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmailConfig")
            .field("server", &self.server)
            .field("port", &self.port)
            .field("tls", &self.tls)
            .field("from", &self.from)
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}

/// Sends notifications by SMTP, as plain text, one message to all receivers. Waits for the server: put it behind a
/// [`QueuedSink`](crate::alert::QueuedSink).
///
/// A permanent refusal (5xx) is not tried again, anything else is.
pub struct EmailSink {
    config: EmailConfig,
    from: Mailbox,
    to: Vec<Mailbox>,
    transport: SmtpTransport,
}

impl fmt::Debug for EmailSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmailSink").field("config", &self.config).finish_non_exhaustive()
    }
}

impl EmailSink {
    /// # Errors
    /// `InvalidConfig` for addresses that are none, no receiver, credentials without TLS, or a server name that TLS
    /// cannot check.
    pub fn new(config: EmailConfig) -> Result<Self> {
        let refuse = |reason: String| Error::config("e-mail sink", reason);
        let mailbox = |address: &String| {
            let parsed: std::result::Result<Mailbox, _> = address.parse();
            parsed.map_err(|error| refuse(format!("{address:?} is no address: {error}")))
        };
        let from = mailbox(&config.from)?;
        let to = config.to.iter().map(mailbox).collect::<Result<Vec<_>>>()?;
        if to.is_empty() || config.timeout.is_zero() {
            return Err(refuse("needs a receiver, and time".into()));
        }
        if config.credentials.is_some() && config.tls == EmailTls::None {
            return Err(refuse("a password is not sent without TLS".into()));
        }
        let parameters = || {
            let parameters = TlsParameters::new(config.server.clone());
            parameters.map_err(|error| refuse(format!("{}: {error}", config.server)))
        };
        let tls = match config.tls {
            EmailTls::Implicit => Tls::Wrapper(parameters()?),
            EmailTls::StartTls => Tls::Required(parameters()?),
            EmailTls::None => Tls::None,
        };
        let mut transport = SmtpTransport::builder_dangerous(&config.server)
            .port(config.port)
            .tls(tls)
            .timeout(Some(config.timeout));
        if let Some((user, password)) = &config.credentials {
            transport = transport.credentials(Credentials::new(user.clone(), password.clone()));
        }
        Ok(EmailSink { transport: transport.build(), config, from, to })
    }

    fn message(&self, notification: &Notification) -> Result<Message> {
        let to = self.to.iter().fold(Message::builder(), |message, to| message.to(to.clone()));
        to.from(self.from.clone())
            .subject(title(notification))
            .header(header::ContentType::TEXT_PLAIN)
            .body(text(notification))
            .map_err(|error| refused(error.to_string(), Retry::Never))
    }
}

fn refused(reason: String, retry: Retry) -> Error {
    Error::Delivery { sink: "e-mail".into(), reason, retry }
}

impl AlertSink for EmailSink {
    fn send(&self, notification: &Notification) -> Result<()> {
        let sent = self.transport.send(&self.message(notification)?);
        sent.map(drop).map_err(|error| {
            let retry = if error.is_permanent() { Retry::Never } else { Retry::Later };
            refused(error.to_string(), retry)
        })
    }
}
