//! Webhook and e-mail sinks against servers in this process.
#![cfg(all(feature = "webhook", feature = "email"))]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use riskcycle::alert::{
    AlertEngine, AlertRule, AlertSink, Comparison, InMemoryAlertSink, Notification,
};
use riskcycle::backend::{
    EmailConfig, EmailSink, EmailTls, WebhookConfig, WebhookFormat, WebhookSink,
};
use riskcycle::monitor::{Measurement, Metric, MetricSource};
use riskcycle::{Error, Retry, Timestamp};

struct One;

impl MetricSource for One {
    fn measure(&self, _: &Metric, _: Duration, _: Timestamp) -> Vec<Measurement> {
        vec![Measurement { model: None, segment: None, value: 0.9, n: 1000 }]
    }
}

fn notification() -> Notification {
    let sink = Arc::new(InMemoryAlertSink::default());
    let rule = AlertRule {
        description: "scores < 0.5 & falling".into(),
        ..AlertRule::new("score-drift", Metric::psi("score"), Comparison::Above, 0.25)
    };
    let engine = AlertEngine::with_sink(vec![rule], sink.clone()).unwrap();
    engine.tick(Timestamp::from_date(2024, 1, 1), &One);
    sink.notifications().remove(0)
}

/// Answers one request per given answer; gives back what was asked: head and body.
fn server(answers: Vec<&'static str>) -> (String, thread::JoinHandle<Vec<(String, String)>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let serve = thread::spawn(move || {
        let each = answers.into_iter().map(|answer| {
            let mut stream = listener.accept().unwrap().0;
            let asked = read_request(&mut stream);
            write!(stream, "HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .unwrap();
            asked
        });
        each.collect()
    });
    (url, serve)
}

fn read_request(stream: &mut TcpStream) -> (String, String) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0);
    }
    let length = head.to_lowercase().lines().find_map(|line| {
        line.strip_prefix("content-length:").map(|n| n.trim().parse::<usize>().unwrap())
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).unwrap();
    (head, String::from_utf8(body).unwrap())
}

#[test]
fn a_webhook_posts_json_slack_or_a_template_with_the_key() {
    let (url, serve) = server(vec!["200 OK", "204 No Content", "200 OK"]);
    let notification = notification();
    let formats = [
        WebhookFormat::Json,
        WebhookFormat::Slack,
        WebhookFormat::Template {
            body: "to=4915112345&text={title}".into(),
            content_type: "application/x-www-form-urlencoded".into(),
        },
    ];
    for format in formats {
        let headers = vec![("Authorization".to_owned(), "Bearer t0p".to_owned())];
        let config = WebhookConfig { format, headers, ..WebhookConfig::new(&url) };
        let sink = WebhookSink::new(config).unwrap();
        sink.send(&notification).unwrap();
        let shown = format!("{sink:?}");
        assert!(!shown.contains("t0p") && !shown.contains("hook\""), "{shown}");
    }
    let asked = serve.join().unwrap();
    for (head, _) in &asked {
        let head = head.to_lowercase();
        assert!(
            head.starts_with("post /hook ") && head.contains("authorization: bearer t0p"),
            "{head}"
        );
        assert!(head.contains("idempotency-key: rule%3dscore-drift%231%40"), "{head}");
    }
    let back: Notification = serde_json::from_str(&asked[0].1).unwrap();
    assert_eq!(back, notification);
    let slack: serde_json::Value = serde_json::from_str(&asked[1].1).unwrap();
    let text = slack["text"].as_str().unwrap();
    assert!(text.starts_with("*WARNING score-drift, 1 firing*\n"), "{text}");
    assert!(text.contains("scores &lt; 0.5 &amp; falling"), "{text}");
    assert_eq!(asked[2].1, "to=4915112345&text=WARNING%20score-drift%2C%201%20firing");
}

#[test]
fn answers_say_whether_to_try_again() {
    let answers = vec![
        "429 Too Many Requests\r\nRetry-After: 7",
        "503 Service Unavailable",
        "404 Not Found",
        "302 Found\r\nLocation: http://127.0.0.1:1/",
    ];
    let (url, serve) = server(answers);
    let sink = WebhookSink::new(WebhookConfig::new(&url)).unwrap();
    let notification = notification();
    let retry = |sink: &WebhookSink| match sink.send(&notification).unwrap_err() {
        Error::Delivery { retry, reason, .. } => {
            assert!(!reason.contains("hook"), "{reason}");
            retry
        }
        other => panic!("{other}"),
    };
    let expected = [Retry::After(Duration::from_secs(7)), Retry::Later, Retry::Never, Retry::Never];
    assert_eq!([0; 4].map(|_| retry(&sink)), expected);
    serve.join().unwrap();
    // Nobody listens any more.
    assert_eq!(retry(&sink), Retry::Later);
    // Somebody listens and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let timeout = Duration::from_millis(50);
    let sink = WebhookSink::new(WebhookConfig { timeout, ..WebhookConfig::new(&url) }).unwrap();
    assert_eq!(retry(&sink), Retry::Later);
    assert!(WebhookSink::new(WebhookConfig::new("ftp://x")).is_err());
    let headers = vec![("X".to_owned(), "a\r\nb".to_owned())];
    assert!(
        WebhookSink::new(WebhookConfig { headers, ..WebhookConfig::new("https://x") }).is_err()
    );
}

/// A mail server for one message; gives back what it was told.
fn mail_server(answer_to_sender: &'static str) -> (u16, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut told = String::new();
        stream.write_all(b"220 here\r\n").unwrap();
        let mut in_message = false;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return told;
            }
            told += &line;
            let answer = match line.trim_end() {
                "." => {
                    in_message = false;
                    "250 taken"
                }
                _ if in_message => continue,
                "DATA" => {
                    in_message = true;
                    "354 go on"
                }
                "QUIT" => "221 bye",
                line if line.starts_with("MAIL FROM") => answer_to_sender,
                _ => "250 ok",
            };
            if stream.write_all(format!("{answer}\r\n").as_bytes()).is_err() {
                return told;
            }
        }
    });
    (port, serve)
}

fn mail(port: u16) -> EmailConfig {
    let config =
        EmailConfig::new("127.0.0.1", "alerts <alerts@example.com>", &["risk@example.com"]);
    EmailConfig { port, tls: EmailTls::None, ..config }
}

#[test]
fn a_mail_carries_title_and_text() {
    let (port, serve) = mail_server("250 ok");
    let sink = EmailSink::new(mail(port)).unwrap();
    sink.send(&notification()).unwrap();
    drop(sink);
    let told = serve.join().unwrap();
    assert!(told.contains("RCPT TO:<risk@example.com>"), "{told}");
    assert!(told.contains("Subject: WARNING score-drift, 1 firing"), "{told}");
    assert!(told.contains("FIRING score-drift (Warning): psi/score"), "{told}");
}

#[test]
fn a_mail_server_says_whether_to_try_again_and_passwords_need_tls() {
    for (answer, expected) in [("550 no", Retry::Never), ("450 later", Retry::Later)] {
        let (port, serve) = mail_server(answer);
        let error = EmailSink::new(mail(port)).unwrap().send(&notification()).unwrap_err();
        assert!(matches!(error, Error::Delivery { retry, .. } if retry == expected), "{error}");
        serve.join().unwrap();
    }
    let credentials = Some(("u".to_owned(), "s3cret".to_owned()));
    assert!(EmailSink::new(EmailConfig { credentials: credentials.clone(), ..mail(1) }).is_err());
    let over_tls = EmailConfig { credentials, tls: EmailTls::StartTls, ..mail(1) };
    assert!(!format!("{over_tls:?}").contains("s3cret"));
    assert!(EmailSink::new(EmailConfig { to: vec!["nobody".into()], ..mail(1) }).is_err());
    assert!(EmailSink::new(EmailConfig { to: Vec::new(), ..mail(1) }).is_err());
}
