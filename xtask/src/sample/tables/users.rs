//! `user_profiles`.
use super::Table;
use crate::sample::calendar::{DAY, TODAY};
use crate::sample::odd;
use crate::sample::person::{Person, write_address};
use crate::sample::plan::Plan;
use crate::sample::random::Random;
use crate::sample::rows::{Rows, write_hex};
use std::io;

pub const USER_PROFILES: Table = Table {
    name: "user_profiles",
    columns: "id, role, first_name, last_name, email, phone, locale, time_zone, address, preferences, interests, \
              password_digest, about, last_seen_at, created_at, updated_at",
    partitioned: false,
    write,
};

const ROLES: &[&str] = &["couple", "couple", "couple", "planner", "supplier", "guest", "guest", "admin"];

fn write(plan: &Plan, rows: &mut Rows<'_>) -> io::Result<()> {
    let random = &mut plan.random("user_profiles");
    for n in 0..plan.users {
        let person = Person::any(&plan.vocabulary, random);
        rows.uuid(plan.user_id(n));
        rows.plain(random.pick(ROLES));
        rows.plain(person.first.text);
        rows.plain(person.last.text);
        rows.with(|out| person.write_email(random, Some(n + 1), out));
        rows.maybe((!random.chance(250)).then_some(()), |out, ()| person.write_phone(random, out));
        rows.plain(person.culture.locale);
        rows.plain(person.culture.time_zone);
        rows.maybe((!random.chance(200)).then_some(()), |out, ()| write_address(person.culture, random, out));
        write_preferences(plan, rows, random);
        about_and_times(plan, rows, random);
        rows.end()?;
    }
    Ok(())
}

fn write_preferences(plan: &Plan, rows: &mut Rows<'_>, random: &mut Random) {
    rows.with(|out| {
        let theme = random.pick(&["light", "dark", "system"]);
        out.extend_from_slice(
            format!("{{\"theme\": \"{theme}\", \"digest_hour\": {}", random.below(24)).as_bytes(),
        );
        if random.chance(600) {
            out.extend_from_slice(b", \"colour\": \"");
            plan.vocabulary.write("colour", random, out);
            out.extend_from_slice(b"\", \"notify\": {\"sms\": false, \"push\": true}");
        }
        if random.chance(300) {
            let (width, zoom) = (random.between(320, 3840), random.between(50, 250));
            out.extend_from_slice(
                format!(
                    ", \"window\": [{width}, {}], \"zoom\": {}.{:02}",
                    width * 9 / 16,
                    zoom / 100,
                    zoom % 100
                )
                .as_bytes(),
            );
        }
        out.push(b'}');
    });
    rows.with(|out| {
        out.push(b'{');
        for n in 0..random.below(4) {
            out.extend_from_slice(if n == 0 { b"\"" } else { b",\"" });
            plan.vocabulary.write("theme", random, out);
            out.push(b'"');
        }
        out.push(b'}');
    });
}

fn about_and_times(plan: &Plan, rows: &mut Rows<'_>, random: &mut Random) {
    rows.with(|out| {
        out.extend_from_slice(b"\\\\x");
        for _ in 0..4 {
            write_hex(out, &random.bits().to_be_bytes());
        }
    });
    match random.below(10) {
        0 => rows.text(odd::text(random)),
        1..4 => rows.with(|out| plan.vocabulary.write("paragraph", random, out)),
        _ => rows.null(),
    }
    let created = TODAY * DAY - random.between(DAY, 1500 * DAY);
    let seen = created + random.between(0, TODAY * DAY - created);
    rows.maybe((!random.chance(100)).then_some(seen), crate::sample::calendar::write_moment);
    rows.moment(created);
    rows.moment(seen);
}
