//! The partitioned tables: `audit.audit_logs` by time, `audit.change_history` by entity and then by hash.
use super::Table;
use super::forms::write_ip;
use crate::sample::calendar::{DAY, TODAY, write_number};
use crate::sample::odd;
use crate::sample::plan::Plan;
use crate::sample::random::Random;
use crate::sample::rows::{Rows, write_uuid};
use std::io;

pub const AUDIT_LOGS: Table = Table {
    name: "audit.audit_logs",
    columns: "id, occurred_at, actor, action, object, client_address, details, message",
    partitioned: true,
    write: write_logs,
};

pub const CHANGE_HISTORY: Table = Table {
    name: "audit.change_history",
    columns: "id, entity, entity_id, changed_at, changed_by, changed_columns, old_values, new_values",
    partitioned: true,
    write: write_changes,
};

const LOGS_PER_WEDDING: u64 = 30;
const CHANGES_PER_WEDDING: u64 = 12;
const ACTIONS: &[&str] =
    &["insert", "update", "update", "update", "delete", "login", "login", "export", "share"];
const OBJECTS: &[&str] = &["guests", "weddings", "photos", "forms", "timeline_events", "vendors", "session"];

fn write_logs(plan: &Plan, rows: &mut Rows<'_>) -> io::Result<()> {
    let random = &mut plan.random("audit_logs");
    let total = plan.weddings * LOGS_PER_WEDDING;
    // From 2025-07-01 on, nearly in the order of time, as a log is.
    let (begin, span) = ((TODAY - 488) * DAY, 488 * DAY);
    for n in 0..total {
        let about = begin + (span as i128 * i128::from(n) / i128::from(total)) as i64;
        // A few came with an import of older years, before the first partition.
        let moment = if random.chance(15) {
            begin - random.between(DAY, 2000 * DAY)
        } else {
            about + random.between(0, 3_600_000_000)
        };
        rows.number(n as i64 + 1);
        rows.moment(moment);
        rows.maybe(random.chance(900).then_some(()), |out, ()| write_uuid(out, plan.any_user_id(random)));
        rows.plain(random.pick(ACTIONS));
        rows.plain(random.pick(OBJECTS));
        rows.maybe(random.chance(950).then_some(()), |out, ()| write_ip(random, out));
        details(rows, random);
        match random.below(40) {
            0 => rows.text(odd::text(random)),
            1..6 => rows.null(),
            _ => rows.with(|out| plan.vocabulary.write("logline", random, out)),
        }
        rows.end()?;
    }
    Ok(())
}

fn details(rows: &mut Rows<'_>, random: &mut Random) {
    rows.with(|out| {
        out.extend_from_slice(b"{\"request\": \"");
        write_uuid(out, random.uuid());
        let (status, took) =
            (random.pick(&["200", "200", "201", "304", "403", "500"]), random.between(900, 900_000));
        out.extend_from_slice(
            format!("\", \"status\": {status}, \"ms\": {}.{:03}}}", took / 1000, took % 1000).as_bytes(),
        );
    });
}

fn write_changes(plan: &Plan, rows: &mut Rows<'_>) -> io::Result<()> {
    let random = &mut plan.random("change_history");
    for _ in 0..plan.weddings * CHANGES_PER_WEDDING {
        let wedding = plan.any_wedding(random);
        let entity =
            random.pick(&["guests", "guests", "guests", "weddings", "timeline_events", "vendors", "photos"]);
        rows.uuid(random.uuid());
        rows.plain(entity);
        rows.with(|out| match entity {
            "guests" => write_number(out, wedding.any_guest(random)),
            "vendors" => write_number(out, plan.any_vendor(random)),
            _ => write_uuid(out, wedding.id),
        });
        rows.moment(wedding.planning_moment(random));
        rows.maybe(random.chance(900).then_some(()), |out, ()| write_uuid(out, plan.any_user_id(random)));
        rows.plain(random.pick(&["{notes,updated_at}", "{updated_at}", "{rsvp,rsvp_at,updated_at}", "{}"]));
        let (before, after) = (!random.chance(250), !random.chance(80));
        image(plan, rows, random, before);
        image(plan, rows, random, after);
        rows.end()?;
    }
    Ok(())
}

/// Writes a row as it was, or NULL when there was none.
fn image(plan: &Plan, rows: &mut Rows<'_>, random: &mut Random, present: bool) {
    rows.maybe(present.then_some(()), |out, ()| {
        out.extend_from_slice(format!("{{\"version\": {}, \"notes\": \"", random.between(1, 40)).as_bytes());
        plan.vocabulary.write("sentence", random, out);
        out.extend_from_slice(b"\", \"rsvp\": \"");
        out.extend_from_slice(random.pick(&["pending", "accepted", "declined", "tentative"]).as_bytes());
        out.extend_from_slice(b"\"}");
    });
}
