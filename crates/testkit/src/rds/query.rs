//! A call in the AWS Query protocol: flat form fields.

use super::answer::Refusal;

/// The fields of one call.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn new(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }

    pub(super) fn action(&self) -> &str {
        self.text("Action").unwrap_or_default()
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn required(&self, name: &str) -> Result<&str, Refusal> {
        let given = self.text(name).filter(|value| !value.is_empty());
        given.ok_or_else(|| {
            Refusal::new("MissingParameter", format!("The request must contain the parameter {name}."))
        })
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.text(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// `Tags.Tag.1.Key`, `Tags.Tag.1.Value` and so on; the middle part has another name in some clients.
    pub(super) fn tags(&self) -> Vec<(String, String)> {
        let keys = self.0.iter().filter(|(name, _)| name.starts_with("Tags.") && name.ends_with(".Key"));
        keys.map(|(name, key)| {
            let value = format!("{}.Value", name.trim_end_matches(".Key"));
            (key.clone(), self.text(&value).unwrap_or_default().to_owned())
        })
        .collect()
    }

    /// The instance that a call is about: by its name, or by its ARN in `ResourceName`.
    pub(super) fn instance_name(&self, parameter: &str) -> Result<String, Refusal> {
        let given = self.required(parameter)?;
        Ok(given.rsplit(':').next().unwrap_or(given).to_lowercase())
    }
}
