//! `contracts` with their large objects, `rsvp_import`, and the empty `gift_registry`.
use super::Table;
use crate::sample::odd;
use crate::sample::plan::Plan;
use crate::sample::random::Random;
use crate::sample::rows::{Rows, write_escaped, write_hex, write_json_escaped};
use std::io::{self, Write};

pub const CONTRACTS: Table = Table {
    name: "contracts",
    columns: "id, wedding_id, title, document, signed_on",
    partitioned: false,
    write: write_contracts,
};

pub const RSVP_IMPORT: Table = Table {
    name: "rsvp_import",
    columns: "source, line_number, raw, payload, imported_at",
    partitioned: false,
    write: write_imports,
};

pub const GIFT_REGISTRY: Table = Table {
    name: "gift_registry",
    columns: "id, wedding_id, item, price, reserved_by",
    partitioned: false,
    write: |_, _| Ok(()),
};

/// The large object of contract n is this plus n. Fixed numbers, so that the rows of one seed are always the same.
const FIRST_DOCUMENT: u64 = 700_000;
const LINES_PER_WEDDING: u64 = 4;

fn documents(plan: &Plan) -> u64 {
    (4 + 2 * plan.scale).min(40)
}

fn write_contracts(plan: &Plan, rows: &mut Rows<'_>) -> io::Result<()> {
    let random = &mut plan.random("contracts");
    for n in 1..=documents(plan) {
        let wedding = plan.any_wedding(random);
        rows.number(n as i64);
        rows.uuid(wedding.id);
        rows.with(|out| plan.vocabulary.write("term", random, out));
        rows.number((FIRST_DOCUMENT + n) as i64);
        rows.maybe(random.chance(700).then_some(wedding.day - 90), crate::sample::calendar::write_day);
        rows.end()?;
    }
    Ok(())
}

/// Writes the SQL that makes the large objects; returns how many there are, and their bytes. One is empty, some are
/// text, some are not.
pub fn write_large_objects(plan: &Plan, sink: &mut dyn Write) -> io::Result<(u64, u64)> {
    let mut total = 0;
    for n in 1..=documents(plan) {
        let mut random = Random::of(plan.seed, "document", n);
        let document = document(plan, n, &mut random);
        total += document.len() as u64;
        let mut digits = Vec::with_capacity(document.len() * 2);
        write_hex(&mut digits, &document);
        write!(sink, "SELECT lo_from_bytea({}, '\\x", FIRST_DOCUMENT + n)?;
        sink.write_all(&digits)?;
        sink.write_all(b"');\n")?;
    }
    Ok((documents(plan), total))
}

fn document(plan: &Plan, n: u64, random: &mut Random) -> Vec<u8> {
    let size = random.between(2_000, 90_000) as usize;
    let mut document = Vec::new();
    match n % 4 {
        0 if n == 4 => {}
        3 => {
            document.extend_from_slice(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n");
            while document.len() < size {
                document.extend_from_slice(&random.bits().to_le_bytes());
            }
        }
        _ => {
            for clause in 1.. {
                document.extend_from_slice(format!("\n{clause}. ").as_bytes());
                plan.vocabulary.write("term", random, &mut document);
                document.push(b'.');
                if document.len() >= size {
                    break;
                }
            }
        }
    }
    document
}

fn write_imports(plan: &Plan, rows: &mut Rows<'_>) -> io::Result<()> {
    let random = &mut plan.random("rsvp_import");
    for line in 0..plan.weddings * LINES_PER_WEDDING {
        // The same upload twice: these rows differ in nothing.
        let copies = if random.chance(30) { 2 } else { 1 };
        let numbers = random.bits();
        for _ in 0..copies {
            write_import(plan, rows, line, &mut Random::of(numbers, "line", line))?;
        }
    }
    Ok(())
}

fn write_import(plan: &Plan, rows: &mut Rows<'_>, line: u64, random: &mut Random) -> io::Result<()> {
    let wedding = plan.any_wedding(random);
    let awkward = random.chance(80).then(|| odd::text(random));
    rows.plain(random.pick(&["guests.csv", "Gästeliste (final FINAL 2).xlsx", "google-sheet", "الضيوف.csv"]));
    rows.maybe(random.chance(900).then_some(line as i64 % 500), crate::sample::calendar::write_number);
    rows.with(|out| {
        for rule in ["company", "dish", "guestnote"] {
            plan.vocabulary.write(rule, random, out);
            out.push(b';');
        }
        write_escaped(out, awkward.unwrap_or("x"));
    });
    rows.maybe(random.chance(850).then_some(()), |out, ()| {
        // json, not jsonb: spaces, order and the repeated key must survive.
        out.extend_from_slice(b"{ \"b\" :1,\"a\":  \"");
        write_json_escaped(out, awkward.unwrap_or("ok"));
        out.extend_from_slice(b"\", \"b\": 1.50 }");
    });
    rows.moment(wedding.planning_moment(random));
    rows.end()
}
