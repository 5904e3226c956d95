use crate::{Clients, answer::Answer};
use async_trait::async_trait;
use aws_sdk_sns::types::MessageAttributeValue;
use keepsake_domain::Notice;
use keepsake_steps::ports::{Notices, NoticesError};
use serde_json::{Value, json};

/// Protocols that machines listen on; they get the notice as JSON, all others get words.
const MACHINES: [&str; 5] = ["http", "https", "sqs", "lambda", "firehose"];

/// An SNS topic. Subscribers may filter by the attributes `severity`, `source` and `kind`.
#[derive(Debug, Clone)]
pub struct SnsNotices {
    client: aws_sdk_sns::Client,
    topic: String,
}

impl SnsNotices {
    /// The topic of this ARN, in the region that it names.
    #[must_use]
    pub fn new(clients: &Clients, topic_arn: impl Into<String>) -> Self {
        let topic = topic_arn.into();
        let client = match topic.split(':').nth(3).filter(|region| !region.is_empty()) {
            Some(region) => clients.in_region(region).sns(),
            None => clients.sns(),
        };
        Self { client, topic }
    }

    fn failed(&self, transient: bool, cause: crate::answer::Cause) -> NoticesError {
        NoticesError { topic: self.topic.clone(), transient, cause }
    }
}

/// One message in words, and one as JSON for each protocol that machines listen on.
fn message(notice: &Notice) -> Result<String, serde_json::Error> {
    let mut protocols = json!({ "default": notice.text(), "email": notice.text() });
    let for_machines = Value::String(serde_json::to_string(notice)?);
    for protocol in MACHINES {
        protocols[protocol] = for_machines.clone();
    }
    serde_json::to_string(&protocols)
}

/// `None` for an empty value, which SNS refuses.
fn attribute(value: &str) -> Option<MessageAttributeValue> {
    let text = MessageAttributeValue::builder().data_type("String").string_value(value);
    if value.is_empty() { None } else { text.build().ok() }
}

/// As JSON has it, `backup_failed` for example.
fn kind(notice: &Notice) -> String {
    serde_json::to_value(notice.kind)
        .ok()
        .and_then(|kind| kind.as_str().map(str::to_owned))
        .unwrap_or_default()
}

#[async_trait]
impl Notices for SnsNotices {
    async fn publish(&self, notice: &Notice) -> Result<String, NoticesError> {
        let text = message(notice).map_err(|cause| self.failed(false, Box::new(cause)))?;
        let mut request = self.client.publish().topic_arn(&self.topic).subject(notice.subject());
        request = request.message_structure("json").message(text);
        for (name, value) in [
            ("severity", notice.severity.name()),
            ("source", notice.source.as_str()),
            ("kind", kind(notice).as_str()),
        ] {
            if let Some(value) = attribute(value) {
                request = request.message_attributes(name, value);
            }
        }
        let answer = request.send().await.map_err(Answer::of);
        let published = answer.map_err(|answer| self.failed(answer.is_transient, answer.cause))?;
        Ok(published.message_id.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keepsake_domain::{Explanation, NoticeKind, Severity};

    #[test]
    fn people_get_words_and_machines_get_the_notice_itself() {
        let notice = Notice {
            kind: NoticeKind::BackupFailed,
            severity: Severity::Critical,
            source: "wedsync".to_owned(),
            execution_id: "run".to_owned(),
            backup_id: None,
            happened: "the source refused the login".to_owned(),
            explanation: Explanation { at_risk: "no new recovery point".to_owned(), next: "look".to_owned() },
        };
        let protocols: Value = serde_json::from_str(&message(&notice).expect("json")).expect("json");
        assert_eq!(protocols["email"], notice.text());
        for protocol in MACHINES {
            let text = protocols[protocol].as_str().expect("SNS wants text per protocol");
            assert_eq!(serde_json::from_str::<Notice>(text).expect("a notice"), notice, "{protocol}");
        }
        assert_eq!(kind(&notice), "backup_failed");
    }
}
