//! `guests`, the largest table: households of a wedding, one after the other.
use super::Table;
use crate::sample::calendar::{write_moment, write_number};
use crate::sample::odd;
use crate::sample::person::{Person, write_address};
use crate::sample::plan::{Plan, Wedding};
use crate::sample::random::Random;
use crate::sample::rows::{Rows, write_escaped};
use std::io;

pub const GUESTS: Table = Table {
    name: "guests",
    columns: "id, wedding_id, household, first_name, last_name, native_name, email, phone, address, rsvp, rsvp_at, \
              plus_one_of, age, table_number, dietary, dietary_notes, meal, notes, created_at, updated_at",
    partitioned: false,
    write,
};

const DIETS: &[&str] = &[
    "{vegetarian}",
    "{vegan}",
    "{vegan,\"gluten free\"}",
    "{halal}",
    "{kosher}",
    "{\"nut allergy\"}",
    "{\"dairy free\",\"nut allergy\"}",
    "{pescatarian}",
    "{NULL,\"see notes\"}",
];

/// One invitation.
struct Household<'v> {
    number: i64,
    head: Person<'v>,
    /// The id of its first member.
    first: u64,
    address: Vec<u8>,
    rsvp: &'static str,
}

fn write(plan: &Plan, rows: &mut Rows<'_>) -> io::Result<()> {
    let random = &mut plan.random("guests");
    for wedding in plan.all_weddings() {
        let end = wedding.first_guest + wedding.guests;
        let (mut id, mut number) = (wedding.first_guest, 0);
        while id < end {
            number += 1;
            let members = (1 + random.below(4) as u64).min(end - id);
            let household = household(&wedding, number, id, random);
            for member in id..id + members {
                write_guest(plan, rows, random, &wedding, &household, member)?;
            }
            id += members;
        }
    }
    Ok(())
}

fn household<'v>(wedding: &Wedding<'v>, number: i64, first: u64, random: &mut Random) -> Household<'v> {
    let culture = wedding.any_culture(random);
    // A third of the guests are family and carry the name of one of the couple.
    let stranger = Person::of(culture, random);
    let head = if random.chance(330) { wedding.couple[random.below(2)].relative(random) } else { stranger };
    let mut address = Vec::new();
    write_address(head.culture, random, &mut address);
    let rsvp = match random.below(10) {
        0 => "declined",
        1 => "tentative",
        2 => "pending",
        3 => "no reply",
        _ => "accepted",
    };
    Household { number, head, first, address, rsvp }
}

fn write_guest(
    plan: &Plan,
    rows: &mut Rows<'_>,
    random: &mut Random,
    wedding: &Wedding<'_>,
    household: &Household<'_>,
    id: u64,
) -> io::Result<()> {
    let head = id == household.first;
    let person = if head { household.head } else { household.head.relative(random) };
    rows.number(id as i64);
    rows.uuid(wedding.id);
    rows.number(household.number);
    rows.plain(person.first.text);
    rows.plain(person.last.text);
    let native = &person.culture.native;
    let known = !native.is_empty() && random.chance(400);
    rows.maybe(known.then(|| native[random.below(native.len())]), write_escaped);
    rows.maybe((head || random.chance(350)).then_some(()), |out, ()| person.write_email(random, None, out));
    rows.maybe((head && random.chance(800)).then_some(()), |out, ()| person.write_phone(random, out));
    rows.maybe((!random.chance(100)).then_some(()), |out, ()| out.extend_from_slice(&household.address));
    let answered = answer(rows, random, wedding, household.rsvp);
    rows.maybe((!head).then_some(household.first), |out, first| write_number(out, first as i64));
    let age = if head || random.chance(500) { random.between(18, 94) } else { random.between(0, 17) };
    rows.maybe(random.chance(700).then_some(age), write_number);
    rows.maybe(answered.then(|| random.between(1, 24)), write_number);
    meal(plan, rows, random, answered);
    match random.below(50) {
        0 => rows.text(odd::text(random)),
        1..14 => rows.with(|out| plan.vocabulary.write("guestnote", random, out)),
        _ => rows.null(),
    }
    let created = wedding.planning_moment(random);
    rows.moment(created);
    rows.moment(created + random.between(0, 5_000_000_000_000));
    rows.end()
}

/// Writes the answer and its time; true when the guest comes.
fn answer(rows: &mut Rows<'_>, random: &mut Random, wedding: &Wedding<'_>, household: &'static str) -> bool {
    let rsvp = if random.chance(50) { "declined" } else { household };
    rows.plain(rsvp);
    let open = matches!(rsvp, "pending" | "no reply");
    rows.maybe((!open).then(|| wedding.planning_moment(random)), write_moment);
    rsvp == "accepted"
}

fn meal(plan: &Plan, rows: &mut Rows<'_>, random: &mut Random, comes: bool) {
    let special = random.chance(220);
    rows.plain(if special { random.pick(DIETS) } else { "{}" });
    match random.below(100) {
        0 => rows.text(odd::text(random)),
        1..4 => rows.plain(""),
        _ if special => rows.with(|out| plan.vocabulary.write("diet", random, out)),
        _ => rows.null(),
    }
    rows.maybe((comes && random.chance(700)).then_some(()), |out, ()| {
        for (key, rule) in [
            ("{\"starter\": \"", "starter"),
            ("\", \"main\": \"", "dish"),
            ("\", \"pudding\": \"", "pudding"),
        ] {
            out.extend_from_slice(key.as_bytes());
            plan.vocabulary.write(rule, random, out);
        }
        out.extend_from_slice(b"\", \"wine\": ");
        out.extend_from_slice(random.pick(&["\"red\"}", "\"white\"}", "null}", "false}"]).as_bytes());
    });
}
