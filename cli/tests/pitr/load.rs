//! Random transactions, written before they run: the same seed gives the same scripts. How their statements meet is the
//! server's affair.

use crate::schema::KEYS;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// Statements of one transaction at most.
const STATEMENTS: u32 = 7;

/// A waiting statement gives up, since a prepared transaction may wait for the very connection that waits for it.
const PROLOGUE: &str = "SET lock_timeout = '200ms';\n";

/// The script of one connection.
pub fn script(seed: u64, connection: u64, transactions: u32) -> String {
    let mut random = StdRng::seed_from_u64(seed.wrapping_mul(1_000).wrapping_add(connection));
    let mut script = PROLOGUE.to_owned();
    for number in 0..transactions {
        let name = format!("t{connection}_{number}");
        transaction(&mut random, &name, &mut script);
    }
    script
}

fn transaction(random: &mut StdRng, name: &str, script: &mut String) {
    if random.random_bool(0.15) {
        script.push_str(&statement(random, name));
        return;
    }
    script.push_str("BEGIN;\n");
    let has_savepoint = random.random_bool(0.3);
    for _ in 0..random.random_range(1..=STATEMENTS) {
        script.push_str(&statement(random, name));
    }
    if has_savepoint {
        // Of two nested ones, either may be kept or lost.
        for savepoint in ["outer", "inner"] {
            script.push_str(&format!("SAVEPOINT {savepoint}_point;\n"));
            script.push_str(&statement(random, name));
        }
        let ends = [
            "ROLLBACK TO inner_point",
            "ROLLBACK TO outer_point",
            "RELEASE outer_point",
            "RELEASE inner_point",
        ];
        script.push_str(&format!("{};\n", ends.choose(random).unwrap()));
        script.push_str(&statement(random, name));
    }
    match random.random_range(0..100) {
        0..10 => script.push_str("ROLLBACK;\n"),
        10..20 => {
            // What stands between is of another transaction of this connection, committed before.
            let between = statement(random, name);
            let end = if random.random_bool(0.7) { "COMMIT" } else { "ROLLBACK" };
            script.push_str(&format!("PREPARE TRANSACTION '{name}';\n{between}{end} PREPARED '{name}';\n"));
        }
        _ => script.push_str("COMMIT;\n"),
    }
}

/// One statement; most hit a row, some none, some fail and end their transaction.
fn statement(random: &mut StdRng, name: &str) -> String {
    let (key, other) = (random.random_range(1..=KEYS), random.random_range(1..=KEYS));
    let (n, word) = (random.random_range(0..1_000_000), random.random_range(0..u64::MAX));
    let statement = match random.random_range(0..34) {
        0 | 1 => format!("INSERT INTO accounts (owner, amount, seen) VALUES ('{name}', {n}.{key}, clock_timestamp())"),
        2 | 3 => format!("UPDATE accounts SET amount = amount + {n}, owner = '{name}' WHERE id % {KEYS} = {key}"),
        4 => format!("DELETE FROM accounts WHERE id = {key}"),
        5 | 6 => format!("INSERT INTO entries (account, amount) SELECT min(id), {n} FROM accounts WHERE id >= {key}"),
        7 => format!("DELETE FROM entries WHERE id % {KEYS} = {key}"),
        8 => format!("INSERT INTO ledger VALUES ({key}, '{word}', '{{\"n\": {n}}}') ON CONFLICT DO NOTHING"),
        9 => format!("UPDATE ledger SET v = v || '{{\"by\": \"{name}\"}}' WHERE a = {key}"),
        // Keys change, to a free place and to one that another row leaves in the same statement.
        10 => format!("UPDATE ledger SET b = b || '-{n}' WHERE a = {key}"),
        11 => format!("UPDATE ledger SET a = {other} WHERE a = {key}"),
        12 => format!("DELETE FROM ledger WHERE a = {key}"),
        13 | 14 => format!(
            "INSERT INTO documents VALUES ({key}, '{name}', repeat(md5('{word}'), {})) ON CONFLICT (id) DO UPDATE SET title = excluded.title, body = excluded.body",
            random.random_range(1..400)
        ),
        // The large value stays where it is, and is not in the WAL.
        15 | 16 => format!("UPDATE documents SET n = n + 1 WHERE id = {key}"),
        17 => format!("UPDATE documents SET id = id + {KEYS} WHERE id = {key}"),
        18 => format!("DELETE FROM documents WHERE id = {key} OR id = {key} + {KEYS}"),
        19 => format!("INSERT INTO tagged VALUES ({key}, md5('{word}')::uuid, decode(md5('{n}'), 'hex'))"),
        20 => format!("UPDATE tagged SET payload = payload || '\\x00ff' WHERE n = {key}"),
        21 => format!("UPDATE tagged SET tag = md5('{word}')::uuid WHERE tag = (SELECT min(tag::text)::uuid FROM tagged WHERE n = {key})"),
        22 => format!("INSERT INTO keyless VALUES ({key}, '{name} {word}', {n} / 7.0)"),
        23 => format!("UPDATE keyless SET c = c / 3, b = b || '.' WHERE a = {key}"),
        24 => format!("DELETE FROM keyless WHERE a = {key}"),
        25 => format!("INSERT INTO parted VALUES ({key}, '{name}') ON CONFLICT (id) DO UPDATE SET v = excluded.v"),
        // From one partition to the other.
        26 => format!("UPDATE parted SET id = {other} WHERE id = {key}"),
        27 => format!("INSERT INTO emptied (v) SELECT '{name}' FROM generate_series(1, {})", 1 + key % 20),
        28 => match key % 6 {
            0 => "TRUNCATE emptied RESTART IDENTITY".to_owned(),
            1 => "TRUNCATE emptied, emptied_too".to_owned(),
            _ => format!("INSERT INTO emptied_too VALUES ({n}, {key})"),
        },
        29 | 30 => format!(
            "INSERT INTO typed VALUES ({key}, '{mood}', ROW(E'a\\tb\\\\N', {n}), '[{low},{high})', ARRAY['{day}'::date, NULL, 'infinity'], {float}, '{n} min', '\\x{word:016x}', clock_timestamp(), {note})
             ON CONFLICT (id) DO UPDATE SET m = excluded.m, p = excluded.p, r = excluded.r, f = excluded.f, t = excluded.t, note = excluded.note",
            mood = ["calm", "glad", "sad"].choose(random).unwrap(),
            low = key.min(other),
            high = key.max(other) + 1,
            day = ["2026-02-28", "0044-03-15 BC", "-infinity"].choose(random).unwrap(),
            float = ["'NaN'", "'-Infinity'", "1e-300", "0.1", "'-0'"].choose(random).unwrap(),
            note = ["NULL", "''", "'\\N'", "E'line\\nline\\\\.'", "'Gäste'"].choose(random).unwrap(),
        ),
        31 => format!("DELETE FROM typed WHERE id = {key}"),
        32 => format!("SELECT nextval('tickets') FROM generate_series(1, {})", 1 + key % 5),
        _ => format!(
            "INSERT INTO \"Odd \"\"Name\" VALUES ({key}, '{name}') ON CONFLICT (\"the key\") DO UPDATE SET \"a.b\" = excluded.\"a.b\""
        ),
    };
    format!("{statement};\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_script_and_each_connection_its_own() {
        assert_eq!(script(7, 1, 50), script(7, 1, 50));
        assert_ne!(script(7, 1, 50), script(7, 2, 50));
        let all = script(7, 1, 400);
        for kind in [
            "PREPARE TRANSACTION",
            "ROLLBACK TO",
            "TRUNCATE",
            "SET id = id +",
            "nextval",
            "ROLLBACK PREPARED",
        ] {
            assert!(all.contains(kind), "no {kind} in 400 transactions");
        }
    }
}
