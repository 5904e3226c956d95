//! A subscriber of the alert topic: confirms its subscription as SNS asks it to, and keeps every notice that comes.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

/// A message of SNS has at most 256 KiB; its envelope a little more.
const BODY_LIMIT_BYTES: usize = 1 << 20;

/// A caller that says nothing for this long is let go.
const PATIENCE: Duration = Duration::from_secs(10);

/// An HTTP endpoint on 127.0.0.1 that appends each notice, as one JSON line, to a file. Ends with the process.
pub struct Subscriber {
    url: String,
    notices: PathBuf,
}

impl Subscriber {
    /// Starts it; notices go to `folder/notices.jsonl`.
    pub fn start(folder: &Path) -> Result<Self> {
        let notices = folder.join("notices.jsonl");
        File::create(&notices).with_context(|| format!("create {}", notices.display()))?;
        let listener = TcpListener::bind("127.0.0.1:0").context("open the subscriber's port")?;
        let url = format!("http://{}/alerts", listener.local_addr()?);
        let file = notices.clone();
        std::thread::spawn(move || {
            let writing = Mutex::new(());
            for stream in listener.incoming().flatten() {
                if let Err(error) = answer(stream, &file, &writing) {
                    eprintln!("subscriber: {error:#}");
                }
            }
        });
        Ok(Self { url, notices })
    }

    /// Where SNS sends to.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The file that notices are kept in.
    pub fn file(&self) -> &Path {
        &self.notices
    }

    /// Notices that have come, oldest first: what SNS calls the message, with its subject.
    pub fn notices(&self) -> Result<Vec<(String, Value)>> {
        let text = std::fs::read_to_string(&self.notices).context("read the notices")?;
        text.lines()
            .map(|line| {
                let envelope: Value = serde_json::from_str(line)?;
                let subject = envelope["Subject"].as_str().unwrap_or_default().to_owned();
                let message = envelope["Message"].as_str().unwrap_or_default();
                let body =
                    serde_json::from_str(message).unwrap_or_else(|_| Value::String(message.to_owned()));
                Ok((subject, body))
            })
            .collect()
    }
}

fn answer(stream: TcpStream, notices: &Path, writing: &Mutex<()>) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let body = read_body(&stream)?;
    let envelope: Value = serde_json::from_slice(&body).context("SNS sends JSON")?;
    match envelope["Type"].as_str() {
        Some("SubscriptionConfirmation") => confirm(envelope["SubscribeURL"].as_str().unwrap_or_default())?,
        Some("Notification") => {
            let _one_line_at_a_time = writing.lock();
            let mut file = OpenOptions::new().append(true).open(notices)?;
            writeln!(file, "{envelope}")?;
        }
        other => bail!("unknown message of type {other:?}"),
    }
    let mut stream = stream;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
    Ok(())
}

fn read_body(stream: &TcpStream) -> Result<Vec<u8>> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.by_ref().take(16 << 10).read_line(&mut line)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().context("content-length")?;
        }
    }
    if length > BODY_LIMIT_BYTES {
        bail!("a message of {length} bytes is no message of SNS");
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(body)
}

/// Follows the confirmation link; only on this machine, whatever the message says.
fn confirm(url: &str) -> Result<()> {
    let rest = url.strip_prefix("http://").with_context(|| format!("{url} is not a local link"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !host.starts_with("127.0.0.1") && !host.starts_with("localhost") {
        bail!("{host} is not this machine");
    }
    let mut stream = TcpStream::connect(host).with_context(|| format!("connect to {host}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut status = String::new();
    BufReader::new(stream).read_line(&mut status)?;
    if !status.contains(" 200 ") {
        bail!("the confirmation was answered with {status}");
    }
    Ok(())
}
