//! `forms` and the answers to them, `client_data`.
use super::Table;
use crate::sample::calendar::{DAY, write_day, write_number};
use crate::sample::odd;
use crate::sample::person::Person;
use crate::sample::plan::{Plan, Wedding};
use crate::sample::random::Random;
use crate::sample::rows::{Rows, write_json_escaped};
use std::io;

pub const FORMS: Table = Table {
    name: "forms",
    columns: "id, wedding_id, title, version, fields, open_during, created_at, updated_at",
    partitioned: false,
    write: write_forms,
};

pub const CLIENT_DATA: Table = Table {
    name: "client_data",
    columns: "id, form_id, wedding_id, guest_id, answers, client_address, user_agent, checksum, submitted_at",
    partitioned: false,
    write: write_answers,
};

fn write_forms(plan: &Plan, rows: &mut Rows<'_>) -> io::Result<()> {
    let random = &mut plan.random("forms");
    for wedding in plan.all_weddings() {
        for n in 0..2 {
            let created = wedding.planning_moment(random);
            rows.uuid(plan.form_id(wedding.number, n));
            rows.uuid(wedding.id);
            rows.with(|out| plan.vocabulary.write("formname", random, out));
            rows.number(random.between(1, 9));
            fields(plan, rows, random);
            rows.maybe(random.chance(850).then_some(()), |out, ()| {
                out.push(b'[');
                write_day(out, created / DAY);
                out.push(b',');
                if random.chance(700) {
                    write_day(out, created / DAY + random.between(7, 120));
                }
                out.push(b')');
            });
            rows.moment(created);
            rows.moment(created + random.between(0, DAY));
            rows.end()?;
        }
    }
    Ok(())
}

fn fields(plan: &Plan, rows: &mut Rows<'_>, random: &mut Random) {
    rows.with(|out| {
        out.push(b'[');
        for n in 0..random.between(3, 9) {
            let kind = random.pick(&["text", "choice", "number", "date", "file", "signature"]);
            let comma = if n == 0 { "" } else { ", " };
            out.extend_from_slice(
                format!("{comma}{{\"key\": \"q{n}\", \"kind\": \"{kind}\", \"label\": \"").as_bytes(),
            );
            plan.vocabulary.write("question", random, out);
            out.extend_from_slice(if random.chance(400) { b"\", \"required\": true}" } else { b"\"}" });
        }
        out.push(b']');
    });
}

fn write_answers(plan: &Plan, rows: &mut Rows<'_>) -> io::Result<()> {
    let random = &mut plan.random("client_data");
    let mut id = 0;
    for wedding in plan.all_weddings() {
        for _ in 0..random.between(5, 25) {
            id += 1;
            rows.number(id);
            rows.uuid(plan.form_id(wedding.number, random.below(2) as u64));
            rows.uuid(wedding.id);
            rows.maybe(random.chance(900).then_some(()), |out, ()| {
                write_number(out, wedding.any_guest(random))
            });
            answers(plan, rows, random, &wedding);
            rows.maybe(random.chance(950).then_some(()), |out, ()| write_ip(random, out));
            rows.maybe(random.chance(800).then_some(()), |out, ()| {
                plan.vocabulary.write("agent", random, out)
            });
            let digest = (u128::from(random.bits()) << 64) | u128::from(random.bits());
            rows.bytes(&digest.to_be_bytes());
            rows.moment(wedding.planning_moment(random));
            rows.end()?;
        }
    }
    Ok(())
}

fn answers(plan: &Plan, rows: &mut Rows<'_>, random: &mut Random, wedding: &Wedding<'_>) {
    let person = Person::of(wedding.any_culture(random), random);
    rows.with(|out| {
        let attending = random.pick(&["yes", "yes", "no", "only the evening"]);
        out.extend_from_slice(format!("{{\"attending\": \"{attending}\", \"name\": \"").as_bytes());
        out.extend_from_slice(format!("{} {}", person.first.text, person.last.text).as_bytes());
        out.extend_from_slice(b"\", \"email\": \"");
        person.write_email(random, None, out);
        out.extend_from_slice(format!("\", \"seats\": {}, \"songs\": [\"", random.below(6)).as_bytes());
        plan.vocabulary.write("song", random, out);
        out.extend_from_slice(b"\"], \"meal\": {\"main\": \"");
        plan.vocabulary.write("dish", random, out);
        out.extend_from_slice(b"\", \"allergy\": \"");
        plan.vocabulary.write("allergy", random, out);
        out.extend_from_slice(b"\"}, \"message\": \"");
        match random.chance(60) {
            true => write_json_escaped(out, odd::text(random)),
            false => plan.vocabulary.write("body", random, out),
        }
        out.extend_from_slice(b"\"}");
    });
}

/// Appends an address of a network that is reserved for documentation or private use.
pub fn write_ip(random: &mut Random, out: &mut Vec<u8>) {
    let bits = random.bits();
    let (a, b, c) = (bits & 255, (bits >> 8) & 255, (bits >> 16) & 255);
    let text = match random.chance(250) {
        true => format!("2001:db8:{a:x}:{b:x}::{:x}", (bits >> 24) & 0xffff),
        false => format!("10.{a}.{b}.{c}"),
    };
    out.extend_from_slice(text.as_bytes());
}
