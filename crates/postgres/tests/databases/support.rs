//! Databases of a test's own, and the whole way from a source to a target.

use bytes::Bytes;
use keepsake_archive::{CopyText, RowsHasher};
use keepsake_domain::{ConnectionUrl, CutLimits, PartPlan, TableName, cut};
use keepsake_postgres::{PgBin, PostgresSource, PostgresTarget, connect};
use keepsake_steps::ports::{
    Chunk, ChunkReceiver, ChunkSender, Provider, RowReader, SchemaSection, Source, SourceError, Target,
    chunks,
};
use std::collections::BTreeMap;
use std::future::Future;
use tokio_postgres::Client;
use tokio_postgres::config::{Config, Host};

pub const PASSWORD: &str = "correct-horse-7f3a";
pub const BACKUP: &str = "01990a5d-ac96-774b-bcce-b302099a8057";

/// A database that is dropped with its roles when the test ends, also when it fails.
pub struct Database {
    admin: ConnectionUrl,
    pub name: String,
    roles: Vec<String>,
}

impl Database {
    pub async fn on(variable: &str) -> Self {
        let url =
            std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run cargo x test"));
        Self::at(&url, "").await
    }

    pub async fn source() -> Self {
        Self::on("KEEPSAKE_TEST_SOURCE_URL").await
    }

    pub async fn target() -> Self {
        Self::on("KEEPSAKE_TEST_TARGET_URL").await
    }

    pub async fn source_with(options: &str) -> Self {
        let url =
            std::env::var("KEEPSAKE_TEST_SOURCE_URL").expect("KEEPSAKE_TEST_SOURCE_URL: run cargo x test");
        Self::at(&url, options).await
    }

    async fn at(url: &str, options: &str) -> Self {
        let admin: ConnectionUrl = url.parse().unwrap();
        let name = format!("keepsake_test_{}", uuid::Uuid::now_v7().simple());
        let client = connect(&admin).await.unwrap();
        client.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0 {options}")).await.unwrap();
        Self { admin, name, roles: Vec::new() }
    }

    /// As the superuser.
    pub fn url(&self) -> ConnectionUrl {
        let config: Config = self.admin.expose().parse().unwrap();
        let password = String::from_utf8(config.get_password().unwrap_or_default().to_vec()).unwrap();
        self.url_as(config.get_user().unwrap(), &password)
    }

    pub fn url_as(&self, user: &str, password: &str) -> ConnectionUrl {
        let config: Config = self.admin.expose().parse().unwrap();
        let Host::Tcp(host) = config.get_hosts()[0].clone() else { panic!("a socket") };
        let port = config.get_ports()[0];
        format!("postgres://{user}:{password}@{host}:{port}/{}", self.name).parse().unwrap()
    }

    pub async fn client(&self) -> Client {
        connect(&self.url()).await.unwrap()
    }

    pub async fn run(&self, sql: &str) {
        self.client().await.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    }

    /// One statement after the other, each in a transaction of its own, or in none as VACUUM wants it.
    pub async fn run_each(&self, statements: &str) {
        for sql in statements.split(';') {
            self.run(sql).await;
        }
    }

    /// A role with a login and no rights but what PUBLIC has.
    pub async fn role(&mut self, options: &str) -> String {
        let role = format!("keepsake_role_{}", uuid::Uuid::now_v7().simple());
        self.run(&format!("CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}' {options}")).await;
        self.roles.push(role.clone());
        role
    }

    /// Roles that are dropped with the database.
    pub fn owns_roles(&mut self, roles: &[String]) {
        self.roles.extend_from_slice(roles);
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (admin, name, roles) = (self.admin.clone(), self.name.clone(), self.roles.clone());
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let client = connect(&admin).await.unwrap();
                // A database with a slot cannot be dropped, nor a slot that somebody streams from.
                let slots = format!(
                    "DO $$ DECLARE s record; BEGIN
                        FOR s IN SELECT slot_name, active_pid FROM pg_replication_slots WHERE database = '{name}' LOOP
                            PERFORM pg_terminate_backend(s.active_pid, 60000) WHERE s.active_pid IS NOT NULL;
                            PERFORM pg_drop_replication_slot(s.slot_name);
                        END LOOP; END $$"
                );
                let _ = client.batch_execute(&slots).await;
                let _ = client.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await;
                for role in roles {
                    let _ = client.batch_execute(&format!("DROP ROLE IF EXISTS {role}")).await;
                }
            });
        });
        let _ = dropped.join();
    }
}

pub fn source_at(url: ConnectionUrl) -> PostgresSource {
    PostgresSource::new(url, Provider::Plain, PgBin::debian())
}

pub fn target_at(url: ConnectionUrl) -> PostgresTarget {
    PostgresTarget::new(url, PgBin::debian())
}

/// The error, its causes, and everything that `Debug` shows.
pub fn all_text(error: &dyn std::error::Error) -> String {
    format!("{} / {error:?}", keepsake_domain::chain(error))
}

/// All bytes of a stream that ended well; `None` for one that was cut off.
pub async fn collect(mut from: ChunkReceiver) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = from.recv().await {
        match chunk {
            Chunk::Data(piece) => {
                assert!(piece.len() <= 8 << 20, "a piece of {} bytes", piece.len());
                bytes.extend_from_slice(&piece);
            }
            Chunk::End => return Some(bytes),
        }
    }
    None
}

/// A stream of bytes at hand, with or without its end.
pub fn stream(bytes: Vec<u8>, whole: bool) -> ChunkReceiver {
    let (to, from) = chunks();
    tokio::spawn(async move {
        let _ = to.send(Chunk::Data(Bytes::from(bytes))).await;
        if whole {
            let _ = to.send(Chunk::End).await;
        }
    });
    from
}

/// What a producer answered, and all bytes that it sent; `None` without their end.
pub async fn collected<F, E>(produce: impl FnOnce(ChunkSender) -> F) -> (Result<(), E>, Option<Vec<u8>>)
where
    F: Future<Output = Result<(), E>>,
{
    let (to, from) = chunks();
    tokio::join!(produce(to), collect(from))
}

/// The schema's archive.
pub async fn schema_of(
    source: &PostgresSource,
    snapshot: &str,
) -> (Result<(), SourceError>, Option<Vec<u8>>) {
    collected(|to| async move { source.dump_schema(snapshot, &to).await }).await
}

pub async fn rows_of(reader: &mut dyn RowReader, part: &PartPlan) -> Vec<u8> {
    let (sent, bytes) = collected(|to| async move { reader.copy_out(part, &to).await }).await;
    sent.unwrap_or_else(|error| panic!("{}", all_text(&error)));
    bytes.expect("a stream without end")
}

pub async fn large_objects_of(reader: &mut dyn RowReader) -> CopyText {
    let (sent, bytes) = collected(|to| async move { reader.copy_large_objects_out(&to).await }).await;
    sent.unwrap_or_else(|error| panic!("{}", all_text(&error)));
    digest(&bytes.expect("a stream without end"))
}

pub fn digest(rows: &[u8]) -> CopyText {
    let mut hasher = RowsHasher::new();
    hasher.update(rows);
    hasher.finish().unwrap()
}

/// Connects a producer with a consumer, and shows both their errors.
pub async fn pipe<P, PF, C, CF, PE, CE>(produce: P, consume: C)
where
    P: FnOnce(ChunkSender) -> PF,
    PF: Future<Output = Result<(), PE>>,
    C: FnOnce(ChunkReceiver) -> CF,
    CF: Future<Output = Result<(), CE>>,
    PE: std::error::Error,
    CE: std::error::Error,
{
    let (to, from) = chunks();
    let (produced, consumed) = tokio::join!(produce(to), consume(from));
    if let Err(error) = consumed {
        panic!("{}; producer: {:?}", all_text(&error), produced.err().map(|e| all_text(&e)));
    }
    produced.unwrap_or_else(|error| panic!("{}", all_text(&error)));
}

/// Rows and digest of each table.
pub type Content = BTreeMap<String, CopyText>;

/// Cut as finely as possible, so that ranges are used wherever they can be.
pub fn fine() -> CutLimits {
    CutLimits { part_bytes: 32 << 10, ..CutLimits::default() }
}

/// Reads every part in its own snapshot reader.
pub async fn content_of(source: &dyn Source, snapshot: &str) -> (Content, Vec<(PartPlan, Vec<u8>)>) {
    let shape = source.shape(snapshot).await.unwrap();
    let mut reader = source.reader(snapshot).await.unwrap();
    let (mut content, mut parts) = (Content::new(), Vec::new());
    for part in cut(&shape.tables, fine()) {
        let rows = rows_of(reader.as_mut(), &part).await;
        add(&mut content, &part.table, digest(&rows));
        parts.push((part, rows));
    }
    (content, parts)
}

pub async fn content_of_target(target: &dyn Target) -> Content {
    let mut reader = target.reader().await.unwrap();
    let mut content = Content::new();
    for part in cut(&target.tables().await.unwrap(), fine()) {
        let rows = rows_of(reader.as_mut(), &part).await;
        add(&mut content, &part.table, digest(&rows));
    }
    content
}

fn add(content: &mut Content, table: &TableName, some: CopyText) {
    let sum = content.entry(table.to_string()).or_default();
    sum.rows += some.rows;
    sum.raw_bytes += some.raw_bytes;
    sum.rows_digest += some.rows_digest;
}

pub async fn restore_section(
    source: &PostgresSource,
    snapshot: &str,
    target: &PostgresTarget,
    section: SchemaSection,
) {
    pipe(
        |to| async move { source.dump_schema(snapshot, &to).await },
        |from| target.restore_schema(section, from, 2),
    )
    .await;
}
