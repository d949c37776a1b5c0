//! Notifications over HTTP.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{text, title};
use crate::alert::{AlertSink, Notification};
use crate::error::{Error, Result, Retry};

/// Parameters of a [`WebhookSink`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Where to post to: `https://…`, or `http://…` within the host's own network. It is not shown in messages, as it may
    /// hold a secret.
    pub url: String,
    /// What is posted.
    #[serde(default)]
    pub format: WebhookFormat,
    /// Further headers, such as `Authorization`. Not shown in messages.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// Time for one attempt, from resolving the name to the end of the answer.
    #[serde(default = "ten_seconds")]
    pub timeout: Duration,
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

impl WebhookConfig {
    /// The notification as JSON to `url`, with ten seconds for it.
    pub fn new(url: &str) -> Self {
        let format = WebhookFormat::Json;
        WebhookConfig { url: url.to_owned(), format, headers: Vec::new(), timeout: ten_seconds() }
    }
}

impl fmt::Debug for WebhookConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WebhookConfig { format, timeout, .. } = self;
        f.debug_struct("WebhookConfig")
            .field("format", format)
            .field("timeout", timeout)
            .finish_non_exhaustive()
    }
}

/// What a webhook posts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookFormat {
    /// The whole [`Notification`] as JSON.
    #[default]
    Json,
    /// A message for Slack's incoming webhooks, and for what speaks like them.
    Slack,
    /// A body of the host's own, for gateways to SMS, e-mail or a ticket system. `{title}`, `{text}`, `{key}` and `{reason}` stand
    /// for the notification's.
    Template {
        /// The body.
        body: String,
        /// Its media type. In one of JSON what is put in is escaped for use within quotation marks; in
        /// `application/x-www-form-urlencoded` it is percent-encoded.
        content_type: String,
    },
}

/// Posts notifications to a URL. Waits for the answer: put it behind a [`QueuedSink`](crate::alert::QueuedSink).
///
/// Every request carries the notification's key as `Idempotency-Key`. Answers: 2xx is taken; 429 and 503 with a `Retry-After`
/// in seconds are tried again after it; 408, 429, 5xx and a broken connection later; anything else, redirections included,
/// never.
pub struct WebhookSink {
    config: WebhookConfig,
    agent: ureq::Agent,
}

impl fmt::Debug for WebhookSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookSink").field("config", &self.config).finish_non_exhaustive()
    }
}

impl WebhookSink {
    /// # Errors
    /// `InvalidConfig` for a URL of another scheme, no time, or a header that cannot be one.
    pub fn new(config: WebhookConfig) -> Result<Self> {
        let refuse = |reason: &str| Err(Error::config("webhook", reason));
        if !config.url.starts_with("https://") && !config.url.starts_with("http://") {
            return refuse("the URL must begin with https:// or http://");
        }
        if config.timeout.is_zero() {
            return refuse("needs time for an attempt");
        }
        let sound = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        let name = |name: &str| !name.is_empty() && !name.contains([' ', ':']) && sound(name);
        if !config.headers.iter().all(|(header, value)| name(header) && sound(value)) {
            return refuse("a header holds what cannot be in one");
        }
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(config.timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .build()
            .new_agent();
        Ok(WebhookSink { config, agent })
    }

    fn body(&self, notification: &Notification) -> (String, &str) {
        const JSON: &str = "application/json";
        match &self.config.format {
            WebhookFormat::Json => {
                let body = serde_json::to_string(notification);
                (body.expect("text keys and plain numbers always are JSON"), JSON)
            }
            WebhookFormat::Slack => {
                // Slack reads these three characters as markup.
                let plain = |text: String| {
                    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
                };
                let message =
                    format!("*{}*\n{}", plain(title(notification)), plain(text(notification)));
                (serde_json::json!({ "text": message }).to_string(), JSON)
            }
            WebhookFormat::Template { body, content_type } => {
                let reason = format!("{:?}", notification.reason);
                let parts = [
                    ("{title}", title(notification)),
                    ("{text}", text(notification)),
                    ("{key}", notification.key.clone()),
                    ("{reason}", reason),
                ];
                (filled(body, &parts, content_type), content_type)
            }
        }
    }

    fn refused(reason: String, retry: Retry) -> Error {
        Error::Delivery { sink: "webhook".into(), reason, retry }
    }
}

/// The template with its parts put in, in one pass: what a part says is never read as a part itself.
fn filled(template: &str, parts: &[(&str, String)], content_type: &str) -> String {
    let escaped = |text: &str| {
        if content_type.contains("json") {
            let quoted = serde_json::Value::from(text).to_string();
            return quoted[1..quoted.len() - 1].to_owned();
        }
        if content_type.starts_with("application/x-www-form-urlencoded") {
            return percent_encoded(text);
        }
        text.to_owned()
    };
    let (mut out, mut rest) = (String::new(), template);
    while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        match parts.iter().find(|(name, _)| rest.starts_with(name)) {
            Some((name, value)) => {
                out.push_str(&escaped(value));
                rest = &rest[name.len()..];
            }
            None => {
                out.push('{');
                rest = &rest[1..];
            }
        }
    }
    out + rest
}

fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

impl AlertSink for WebhookSink {
    fn send(&self, notification: &Notification) -> Result<()> {
        let (body, content_type) = self.body(notification);
        let mut request = self.agent.post(&self.config.url).header("Content-Type", content_type);
        // Labels may hold any character; a header may not.
        request = request.header("Idempotency-Key", percent_encoded(&notification.key));
        for (name, value) in &self.config.headers {
            request = request.header(name, value);
        }
        let response = match request.send(body) {
            Ok(response) => response,
            // The error may quote the URL.
            Err(ureq::Error::Timeout(_)) => {
                return Err(Self::refused("it did not answer in time".into(), Retry::Later));
            }
            Err(ureq::Error::BadUri(_)) => {
                return Err(Self::refused("the URL cannot be used".into(), Retry::Never));
            }
            Err(ureq::Error::Io(error)) => {
                let reason = format!("the connection failed ({})", error.kind());
                return Err(Self::refused(reason, Retry::Later));
            }
            Err(_) => return Err(Self::refused("the connection failed".into(), Retry::Later)),
        };
        let status = response.status().as_u16();
        let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let after = after.and_then(|seconds| seconds.trim().parse::<u64>().ok());
        let retry = match (status, after) {
            (200..=299, _) => return Ok(()),
            (429 | 503, Some(seconds)) => Retry::After(Duration::from_secs(seconds)),
            (408 | 429 | 500..=599, _) => Retry::Later,
            _ => Retry::Never,
        };
        Err(Self::refused(format!("it answered with status {status}"), retry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_into_a_template_cannot_break_out_of_it() {
        let parts =
            [("{title}", "a \"{text}\" & b".to_owned()), ("{text}", "line\nline".to_owned())];
        let json = filled(r#"{"t":"{title}","x":"{text}","o":{}}"#, &parts, "application/json");
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["t"], "a \"{text}\" & b");
        assert_eq!(value["x"], "line\nline");
        let form = filled("to=49&text={title}", &parts, "application/x-www-form-urlencoded");
        assert_eq!(form, "to=49&text=a%20%22%7Btext%7D%22%20%26%20b");
        assert_eq!(filled("{unknown} {title", &parts, "text/plain"), "{unknown} {title");
    }
}
