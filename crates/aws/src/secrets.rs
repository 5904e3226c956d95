use crate::{Clients, answer::Answer};
use async_trait::async_trait;
use keepsake_domain::ConnectionUrl;
use keepsake_steps::ports::{Secrets, SecretsError};
use serde::Deserialize;
use std::net::IpAddr;

/// Secrets of Secrets Manager, by name or ARN. They are read each time: a rotated password is the new one at once.
#[derive(Debug, Clone)]
pub struct SecretsManagerSecrets {
    clients: Clients,
}

/// JSON as RDS and its rotation write it; secrets that RDS manages have user and password only. Not `Debug`.
#[derive(Deserialize)]
struct RdsSecret {
    username: String,
    password: String,
    host: Option<String>,
    port: Option<Port>,
    dbname: Option<String>,
}

/// Rotation templates write it either way.
#[derive(Deserialize)]
#[serde(untagged)]
enum Port {
    Number(u16),
    Text(String),
}

/// Where Postgres listens if a secret does not say.
const DEFAULT_PORT: u16 = 5432;

impl SecretsManagerSecrets {
    /// Uses the region that an ARN names, and the clients' own for a plain name.
    #[must_use]
    pub fn new(clients: &Clients) -> Self {
        Self { clients: clients.clone() }
    }

    /// The connection of an instance whose master password the provider manages: user and password from the secret,
    /// the place from the instance. TLS is required, except on this machine itself.
    ///
    /// # Errors
    /// As for [`Secrets::connection`].
    pub async fn connection_at(
        &self,
        reference: &str,
        host: &str,
        port: u16,
        database: &str,
    ) -> Result<ConnectionUrl, SecretsError> {
        let text = self.text(reference).await?;
        let secret = serde_json::from_str::<RdsSecret>(&text).ok();
        let url = secret.and_then(|secret| secret.url(host, port, database));
        url.ok_or_else(|| not_a_connection(reference))
    }

    async fn text(&self, reference: &str) -> Result<String, SecretsError> {
        let region = reference.strip_prefix("arn:").and_then(|rest| rest.split(':').nth(2));
        let client = match region {
            Some(region) => self.clients.in_region(region).secrets_manager(),
            None => self.clients.secrets_manager(),
        };
        match client.get_secret_value().secret_id(reference).send().await.map_err(Answer::of) {
            Ok(secret) => secret.secret_string.ok_or_else(|| not_a_connection(reference)),
            Err(answer) if answer.is_transient => {
                Err(SecretsError::Unavailable { reference: reference.to_owned(), cause: answer.cause })
            }
            Err(answer) => Err(SecretsError::Denied { reference: reference.to_owned(), cause: answer.cause }),
        }
    }
}

fn not_a_connection(reference: &str) -> SecretsError {
    SecretsError::NotAConnection { reference: reference.to_owned() }
}

impl RdsSecret {
    fn url(&self, host: &str, port: u16, database: &str) -> Option<ConnectionUrl> {
        let (user, password) = (component(&self.username), component(&self.password));
        let is_here =
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let options = if is_here { "" } else { "?sslmode=require" };
        format!("postgres://{user}:{password}@{host}:{port}/{}{options}", component(database)).parse().ok()
    }

    fn port(&self) -> Option<u16> {
        match &self.port {
            None => Some(DEFAULT_PORT),
            Some(Port::Number(number)) => Some(*number),
            Some(Port::Text(text)) => text.trim().parse().ok(),
        }
    }
}

/// A part of a URL: everything but unreserved characters is encoded.
fn component(text: &str) -> String {
    crate::s3::percent_encoded(text).replace('/', "%2F")
}

fn connection(text: &str) -> Option<ConnectionUrl> {
    let text = text.trim();
    let Ok(secret) = serde_json::from_str::<RdsSecret>(text) else { return text.parse().ok() };
    secret.url(secret.host.as_deref()?, secret.port()?, secret.dbname.as_deref().unwrap_or("postgres"))
}

#[async_trait]
impl Secrets for SecretsManagerSecrets {
    async fn connection(&self, reference: &str) -> Result<ConnectionUrl, SecretsError> {
        connection(&self.text(reference).await?).ok_or_else(|| not_a_connection(reference))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_a_url_or_what_rds_writes() {
        let exposed = |text| connection(text).map(|url| url.expose().to_owned());
        assert_eq!(exposed(" postgres://a:b@h:1/d\n").as_deref(), Some("postgres://a:b@h:1/d"));
        let rds = r#"{"username":"anna","password":"p/@:?#","host":"db.example.org","port":"6543","dbname":"wed sync"}"#;
        let expected = "postgres://anna:p%2F%40%3A%3F%23@db.example.org:6543/wed%20sync?sslmode=require";
        assert_eq!(exposed(rds).as_deref(), Some(expected));
        let local = r#"{"username":"a","password":"b","host":"127.0.0.1","port":1}"#;
        assert_eq!(exposed(local).as_deref(), Some("postgres://a:b@127.0.0.1:1/postgres"));
        for wrong in ["", "secret", "{}", r#"{"username":"a","password":"b"}"#, "mysql://a:b@h/d"] {
            assert_eq!(exposed(wrong), None, "{wrong}");
        }
    }
}
