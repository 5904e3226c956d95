//! A double of RDS: its Query API on HTTP, with a real Postgres cluster behind every instance.
//!
//! It answers CreateDBInstance, DescribeDBInstances, DeleteDBInstance, ListTagsForResource and AddTagsToResource as RDS
//! does, wrong calls included. What differs: the master user is a superuser (RDS gives `rds_superuser`), the port is
//! whatever was free, there are no snapshots, and an instance of class `db.never.ready` is never ready. Like RDS from version 15 on, it refuses connections without TLS.

mod answer;
mod cluster;
mod instance;
mod query;
mod secrets;
mod service;

use anyhow::{Context, Result};
use axum::extract::{Form, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use cluster::Server;
use query::Query;
use secrets::PasswordKeeper;
use service::Service;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How an RDS double is set up.
#[derive(Debug, Clone)]
pub struct RdsOptions {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Folder of all clusters; made if missing.
    pub root: PathBuf,
    /// Folders with server programs, one per major that is offered.
    pub pg_bins: Vec<PathBuf>,
    /// How long an instance stays `creating` before its cluster is made.
    pub create_delay: Duration,
    /// Secrets Manager that keeps master passwords; `None` refuses ManageMasterUserPassword.
    pub secrets_endpoint: Option<String>,
}

/// A running RDS double. [`RdsDouble::stop`] ends all its clusters; so does the kernel, when its process dies.
pub struct RdsDouble {
    address: SocketAddr,
    service: Arc<Service>,
    server: JoinHandle<()>,
}

impl RdsDouble {
    /// Starts to listen.
    ///
    /// # Errors
    /// When a program folder holds no server, or the address is taken.
    pub async fn start(options: RdsOptions) -> Result<Self> {
        let servers = Server::find_all(&options.pg_bins).await?;
        cluster::make_folder(&options.root).await?;
        let certificate = cluster::make_certificate(&options.root).await?;
        let keeper = match &options.secrets_endpoint {
            Some(endpoint) => Some(PasswordKeeper::connect(endpoint).await),
            None => None,
        };
        let service =
            Arc::new(Service::new(options.root, servers, certificate, keeper, options.create_delay));
        let listener = TcpListener::bind(options.listen)
            .await
            .with_context(|| format!("listen on {}", options.listen))?;
        let address = listener.local_addr()?;
        let routes = axum::Router::new().route("/", post(serve)).with_state(Arc::clone(&service));
        let server = tokio::spawn(async move {
            // Serving ends only with the task.
            let _ended = axum::serve(listener, routes).await;
        });
        Ok(Self { address, service, server })
    }

    /// The endpoint for SDK clients, for example `http://127.0.0.1:4567`.
    #[must_use]
    pub fn endpoint_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops listening, ends all clusters and removes their folders.
    pub async fn stop(self) {
        self.server.abort();
        self.service.stop_all().await;
    }
}

async fn serve(State(service): State<Arc<Service>>, Form(pairs): Form<Vec<(String, String)>>) -> Response {
    let query = Query::new(pairs);
    let (status, body) = match service.call(&query).await {
        Ok(result) => (StatusCode::OK, answer::success(query.action(), &result)),
        Err(refusal) => (refusal.status(), answer::failure(&refusal)),
    };
    (status, [(header::CONTENT_TYPE, "text/xml")], body).into_response()
}
