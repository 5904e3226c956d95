//! Master passwords, kept in Secrets Manager as RDS keeps them.

use anyhow::{Context, Result};
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::types::Tag;

/// Makes and removes the secrets of instances.
pub(super) struct PasswordKeeper(Client);

impl PasswordKeeper {
    pub(super) async fn connect(endpoint: &str) -> Self {
        let config =
            aws_config::defaults(aws_config::BehaviorVersion::latest()).endpoint_url(endpoint).load().await;
        Self(Client::new(&config))
    }

    /// Stores user and password under `rds!db-<id>`; answers the secret's ARN.
    pub(super) async fn keep(&self, instance_arn: &str, user: &str, password: &str) -> Result<String> {
        let value = serde_json::json!({"username": user, "password": password}).to_string();
        let made = self
            .0
            .create_secret()
            .name(format!("rds!db-{}", uuid::Uuid::now_v7()))
            .secret_string(value)
            .tags(Tag::builder().key("aws:rds:primaryDBInstanceArn").value(instance_arn).build())
            .send()
            .await
            .context("create the master user's secret")?;
        made.arn.context("the secret has no arn")
    }

    /// Removes a secret at once.
    pub(super) async fn forget(&self, arn: &str) -> Result<()> {
        let delete = self.0.delete_secret().secret_id(arn).force_delete_without_recovery(true);
        delete.send().await.context("delete the master user's secret")?;
        Ok(())
    }
}
