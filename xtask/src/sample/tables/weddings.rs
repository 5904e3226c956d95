//! `weddings`.
use super::Table;
use crate::sample::calendar::{DAY, SECOND, TODAY, write_moment, write_number};
use crate::sample::odd;
use crate::sample::person::write_address;
use crate::sample::plan::{Plan, Wedding};
use crate::sample::random::Random;
use crate::sample::rows::{Rows, write_uuid};
use std::io;

pub const WEDDINGS: Table = Table {
    name: "weddings",
    columns: "id, owner_id, planner_id, title, slug, status, wedding_date, ceremony_at, celebration, guest_limit, \
              budget, currency, venue_id, address, theme, colours, website, is_public, primary_contact, notes, \
              created_at, updated_at",
    partitioned: false,
    write,
};

const CURRENCIES: &[&str] = &["GBP", "EUR", "USD", "INR", "BRL", "SEK", "JPY", "NGN"];

fn write(plan: &Plan, rows: &mut Rows<'_>) -> io::Result<()> {
    let random = &mut plan.random("weddings");
    for wedding in plan.all_weddings() {
        let [one, other] = &wedding.couple;
        rows.uuid(wedding.id);
        rows.uuid(plan.user_id(wedding.owner));
        rows.maybe(random.chance(450).then_some(()), |out, ()| write_uuid(out, plan.any_user_id(random)));
        rows.with(|out| {
            out.extend_from_slice(format!("{} & {}", one.first.text, other.first.text).as_bytes())
        });
        let slug = format!("{}-and-{}-{}", one.first.folded, other.first.folded, wedding.number + 1);
        rows.plain(&slug);
        rows.plain(status(&wedding, random));
        when(&wedding, rows, random);
        rows.number(wedding.guests as i64 + random.between(0, 20));
        match random.chance(850) {
            true => rows.money(random.between(100_000, 12_000_000)),
            false => rows.null(),
        }
        rows.plain(random.pick(CURRENCIES));
        rows.maybe(random.chance(800).then_some(()), |out, ()| write_number(out, plan.any_vendor(random)));
        rows.maybe(random.chance(900).then_some(()), |out, ()| write_address(one.culture, random, out));
        theme(plan, rows, random);
        rows.with(|out| out.extend_from_slice(format!("https://{slug}.WedSync.example/").as_bytes()));
        rows.boolean(random.chance(350));
        rows.maybe(random.chance(950).then_some(()), |out, ()| write_number(out, wedding.any_guest(random)));
        match random.below(12) {
            0 => rows.text(odd::text(random)),
            1..8 => rows.with(|out| plan.vocabulary.write("paragraph", random, out)),
            _ => rows.null(),
        }
        let created = wedding.planning_moment(random) - 30 * DAY;
        rows.moment(created);
        rows.moment(created + random.between(0, 20 * DAY));
        rows.end()?;
    }
    Ok(())
}

fn status(wedding: &Wedding<'_>, random: &mut Random) -> &'static str {
    match (random.below(20), wedding.day < TODAY) {
        (0, _) => "cancelled",
        (_, true) => "completed",
        (1..5, false) => "enquiry",
        (5..12, false) => "confirmed",
        _ => "planning",
    }
}

fn when(wedding: &Wedding<'_>, rows: &mut Rows<'_>, random: &mut Random) {
    rows.day(wedding.day);
    let known = !random.chance(120);
    rows.maybe(known.then_some(wedding.ceremony), write_moment);
    rows.maybe(known.then_some(()), |out, ()| {
        out.extend_from_slice(b"[\"");
        write_moment(out, wedding.ceremony - 2 * 3600 * SECOND);
        out.extend_from_slice(b"\",\"");
        write_moment(out, wedding.ceremony + random.between(6, 30) * 3600 * SECOND);
        out.extend_from_slice(b"\")");
    });
}

fn theme(plan: &Plan, rows: &mut Rows<'_>, random: &mut Random) {
    rows.with(|out| {
        out.extend_from_slice(b"{\"style\": \"");
        plan.vocabulary.write("theme", random, out);
        out.extend_from_slice(b"\", \"first_dance\": \"");
        plan.vocabulary.write("song", random, out);
        out.extend_from_slice(b"\", \"hashtag\": null, \"options\": {\"band\": true, \"tables\": ");
        write_number(out, random.between(4, 30));
        out.extend_from_slice(b"}}");
    });
    rows.with(|out| {
        out.push(b'{');
        for n in 0..random.between(1, 4) {
            out.extend_from_slice(if n == 0 { b"\"" } else { b",\"" });
            plan.vocabulary.write("colour", random, out);
            out.push(b'"');
        }
        out.push(b'}');
    });
}
