//! Logs as JSON lines that carry the run's ids, and metrics in CloudWatch's embedded metric format.

use serde_json::{Value, json};
use tracing_subscriber::EnvFilter;

/// Namespace of all metrics.
pub const NAMESPACE: &str = "Keepsake";

/// Sends JSON lines to standard output, where Lambda collects them. `KEEPSAKE_LOG` filters; the default is `info`.
pub(crate) fn start_logging() {
    let filter = EnvFilter::try_from_env("KEEPSAKE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let started = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_env_filter(filter)
        .try_init();
    // A second start in one process keeps the first subscriber, which is the same.
    drop(started);
}

/// One invocation's span: every log line under it carries the ids that its event names.
pub(crate) fn invocation_span(function: &str, request_id: &str, event: &Value) -> tracing::Span {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let either = |first: &str, second: &str| {
        Some(text(first)).filter(|t| !t.is_empty()).unwrap_or_else(|| text(second))
    };
    tracing::info_span!(
        "invocation",
        function,
        request_id,
        execution_id = either("/run/execution_id", "/execution_id"),
        backup_id = text("/run/backup_id"),
        source_id = text("/run/source_id"),
        source = text("/run/source"),
        policy = either("/run/policy", "/policy"),
    )
}

/// A metric and its unit, as CloudWatch names units.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Name, for example `StoredBytes`.
    pub name: &'static str,
    /// Unit, for example `Bytes`.
    pub unit: &'static str,
    /// Value.
    pub value: f64,
}

impl Metric {
    /// A count.
    #[must_use]
    pub fn count(name: &'static str, value: u64) -> Self {
        Self { name, unit: "Count", value: value as f64 }
    }

    /// A number of bytes.
    #[must_use]
    pub fn bytes(name: &'static str, value: u64) -> Self {
        Self { name, unit: "Bytes", value: value as f64 }
    }

    /// A share of a hundred.
    #[must_use]
    pub fn percent(name: &'static str, value: u64) -> Self {
        Self { name, unit: "Percent", value: value as f64 }
    }

    /// A span in seconds.
    #[must_use]
    pub fn seconds(name: &'static str, value: u64) -> Self {
        Self { name, unit: "Seconds", value: value as f64 }
    }

    /// A span in milliseconds.
    #[must_use]
    pub fn milliseconds(name: &'static str, value: u64) -> Self {
        Self { name, unit: "Milliseconds", value: value as f64 }
    }
}

/// Writes metrics of one policy as one line, which CloudWatch Logs turns into metrics.
pub(crate) fn emit(policy: &str, source: &str, timestamp_ms: i64, metrics: &[Metric]) {
    let line = metric_line(policy, source, timestamp_ms, metrics);
    #[allow(clippy::print_stdout, reason = "the embedded metric format is a line on standard output")]
    {
        println!("{line}");
    }
}

fn metric_line(policy: &str, source: &str, timestamp_ms: i64, metrics: &[Metric]) -> Value {
    let definitions: Vec<Value> =
        metrics.iter().map(|metric| json!({"Name": metric.name, "Unit": metric.unit})).collect();
    let mut line = json!({
        "_aws": {
            "Timestamp": timestamp_ms,
            "CloudWatchMetrics": [{
                "Namespace": NAMESPACE, "Dimensions": [["Policy"]], "Metrics": definitions,
            }],
        },
        "Policy": policy,
        "Source": source,
    });
    for metric in metrics {
        line[metric.name] = json!(metric.value);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_line_defines_every_value_that_it_carries() {
        let line = metric_line("nightly", "wedsync", 7, &[Metric::bytes("StoredBytes", 42)]);
        assert_eq!(line["StoredBytes"], json!(42.0));
        assert_eq!(line.pointer("/_aws/CloudWatchMetrics/0/Metrics/0/Name"), Some(&json!("StoredBytes")));
        assert_eq!(line.pointer("/_aws/CloudWatchMetrics/0/Dimensions/0/0"), Some(&json!("Policy")));
    }
}
