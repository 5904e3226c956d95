//! Answers in RDS's XML.

use axum::http::StatusCode;
use std::fmt::Write;

const NAMESPACE: &str = "http://rds.amazonaws.com/doc/2014-10-31/";

/// Why a call is refused, in RDS's own codes.
#[derive(Debug)]
pub(super) struct Refusal {
    code: &'static str,
    message: String,
}

impl Refusal {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(super) fn not_found(name: &str) -> Self {
        Self::new("DBInstanceNotFound", format!("DBInstance {name} not found."))
    }

    /// 404 for what is not there, 400 for all else, as RDS answers.
    pub(super) fn status(&self) -> StatusCode {
        if self.code == "DBInstanceNotFound" { StatusCode::NOT_FOUND } else { StatusCode::BAD_REQUEST }
    }
}

/// Text of an element, with what XML reserves escaped.
pub(super) fn element(name: &str, text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<{name}>{text}</{name}>")
}

/// `<Tag>` elements.
pub(super) fn tag_list(tags: &[(String, String)]) -> String {
    tags.iter().fold("<TagList>".to_owned(), |mut list, (key, value)| {
        let _always_fits = write!(list, "<Tag>{}{}</Tag>", element("Key", key), element("Value", value));
        list
    }) + "</TagList>"
}

/// The answer of a call that worked; an empty result has no result element, as in RDS.
pub(super) fn success(action: &str, result: &str) -> String {
    let result =
        if result.is_empty() { String::new() } else { format!("<{action}Result>{result}</{action}Result>") };
    let request = element("RequestId", &uuid::Uuid::now_v7().to_string());
    format!(
        "<{action}Response xmlns=\"{NAMESPACE}\">{result}<ResponseMetadata>{request}</ResponseMetadata></{action}Response>"
    )
}

/// The answer of a call that was refused.
pub(super) fn failure(refusal: &Refusal) -> String {
    let (code, message) = (element("Code", refusal.code), element("Message", &refusal.message));
    let request = element("RequestId", &uuid::Uuid::now_v7().to_string());
    format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>Sender</Type>{code}{message}</Error>{request}</ErrorResponse>"
    )
}
