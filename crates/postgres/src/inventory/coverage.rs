//! What a full backup leaves out, so that nobody learns it only at the restore.

use super::FOREIGN_SCHEMAS;
use crate::error::ConnectError;
use crate::session::Session;
use keepsake_archive::{Coverage, Uncovered};

struct Question {
    sql: String,
    why: &'static str,
    advice: &'static str,
}

fn questions() -> Vec<Question> {
    let relations = |what: &str, which: &str| {
        format!(
            "SELECT '{what} ' || n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n
            ON n.oid = c.relnamespace WHERE {FOREIGN_SCHEMAS} AND {which}"
        )
    };
    vec![
        Question {
            sql: relations("rows of foreign table", "c.relkind = 'f'"),
            why: "its rows live on another server",
            advice: "back up that server as a source of its own",
        },
        Question {
            sql: relations("tablespace of", "c.reltablespace <> 0 AND c.relkind IN ('r','p','m','i','I')"),
            why: "another server has other disks",
            advice: "move the table after the restore by ALTER TABLE … SET TABLESPACE",
        },
        Question {
            sql: "SELECT 'subscription ' || subname FROM pg_subscription WHERE subdbid = \
                  (SELECT oid FROM pg_database WHERE datname = current_database())"
                .to_owned(),
            why: "its connection holds a password, and two subscribers of one slot would lose changes",
            advice: "create the subscription again after the restore",
        },
        Question {
            sql: "SELECT 'replication slot ' || slot_name FROM pg_replication_slots WHERE database = \
                  current_database()"
                .to_owned(),
            why: "a slot is a position in this server's WAL",
            advice: "let the consumer begin anew after the restore",
        },
        Question {
            sql: "SELECT 'passwords of roles' WHERE EXISTS (SELECT FROM pg_roles WHERE rolcanlogin)"
                .to_owned(),
            why: "passwords are never read; missing roles are restored without login",
            advice: "set passwords and LOGIN after the restore, from your secrets",
        },
    ]
}

/// Answers with everything that is not covered; nothing else is left out.
pub(crate) async fn coverage(session: &Session) -> Result<Coverage, ConnectError> {
    let mut not_covered = Vec::new();
    for question in questions() {
        for what in session.texts("read what is not covered", &question.sql).await? {
            not_covered.push(Uncovered {
                what,
                why: question.why.to_owned(),
                advice: question.advice.to_owned(),
            });
        }
    }
    Ok(Coverage { not_covered })
}
