//! The contract of targets of changes, on a server.

use crate::support::*;
use async_trait::async_trait;
use keepsake_postgres::PostgresTarget;
use keepsake_steps::ports::{ChangeTarget, Target};
use keepsake_testkit::change_target_suite::{BegunRestore, ChangeTargetBench};
use std::sync::Arc;

struct Begun {
    database: Database,
    target: PostgresTarget,
}

#[async_trait]
impl BegunRestore for Begun {
    fn target(&self) -> &dyn ChangeTarget {
        &self.target
    }

    async fn rows(&self, table: &str) -> Vec<String> {
        let client = self.database.client().await;
        let columns = "SELECT string_agg(attname, ' || chr(9) || ' ORDER BY attnum) FROM pg_attribute
            WHERE attrelid = $1::text::regclass AND attnum > 0";
        let columns: String = client.query_one(columns, &[&table]).await.unwrap().get(0);
        let sql = format!("SELECT {columns} FROM {table} ORDER BY 1");
        client.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    async fn write(&self, table: &str, cells: &[&str]) {
        let cells = cells.iter().map(|cell| format!("'{}'", cell.replace('\'', "''"))).collect::<Vec<_>>();
        self.database.run(&format!("INSERT INTO {table} VALUES ({})", cells.join(", "))).await;
    }
}

struct Bench;

#[async_trait]
impl ChangeTargetBench for Bench {
    async fn begun(&self) -> Arc<dyn BegunRestore> {
        let database = Database::target().await;
        let target = target_at(database.url());
        target.begin(BACKUP).await.unwrap();
        database
            .run("CREATE TABLE guests (id text, name text, photo text); CREATE TABLE lines (line text)")
            .await;
        Arc::new(Begun { database, target })
    }
}

keepsake_testkit::change_target_suite!(Bench);
