//! `vendors`, `suppliers`, `vendor_availability` and `vendor_bookings`.
use super::Table;
use crate::sample::calendar::{DAY, SECOND, TODAY, write_day, write_moment, write_number};
use crate::sample::odd;
use crate::sample::person::{Person, write_address};
use crate::sample::plan::Plan;
use crate::sample::random::Random;
use crate::sample::rows::{Rows, write_hex};
use std::io;

pub const VENDORS: Table = Table {
    name: "vendors",
    columns: "id, category, name, email, phone, address, place, capacity, day_rate, rating, reviews, stars_by_year, \
              opening_hours, about, contract_until, created_at, updated_at",
    partitioned: false,
    write: write_vendors,
};

pub const SUPPLIERS: Table = Table {
    name: "suppliers",
    columns: "id, vendor_id, company, contact, email, vat_number, products, delivers_between, opens, lead_time, \
              bank_details, active, created_at",
    partitioned: false,
    write: write_suppliers,
};

pub const VENDOR_AVAILABILITY: Table = Table {
    name: "vendor_availability",
    columns: "id, vendor_id, period, price_factor, note",
    partitioned: false,
    write: write_availability,
};

pub const VENDOR_BOOKINGS: Table = Table {
    name: "vendor_bookings",
    columns: "wedding_id, vendor_id, invoice_number, price, deposit, paid_on, terms, booked_at",
    partitioned: false,
    write: write_bookings,
};

const CATEGORIES: &[&str] =
    &["venue", "catering", "photography", "music", "flowers", "cake", "transport", "beauty"];
const BOOKINGS_PER_WEDDING: u64 = 5;

fn write_vendors(plan: &Plan, rows: &mut Rows<'_>) -> io::Result<()> {
    let random = &mut plan.random("vendors");
    for n in 1..=plan.vendors {
        let owner = Person::any(&plan.vocabulary, random);
        rows.number(n as i64);
        rows.plain(random.pick(CATEGORIES));
        rows.with(|out| plan.vocabulary.write("company", random, out));
        rows.with(|out| owner.write_email(random, None, out));
        rows.maybe((!random.chance(60)).then_some(()), |out, ()| owner.write_phone(random, out));
        rows.with(|out| write_address(owner.culture, random, out));
        figures(rows, random);
        rows.with(|out| {
            let (opens, closes) = (7 + random.below(4), 16 + random.below(7));
            out.extend_from_slice(format!("{{\"mon-fri\": [{opens}, {closes}], \"sun\": null}}").as_bytes());
        });
        match random.chance(40) {
            true => rows.text(odd::text(random)),
            false => rows.with(|out| plan.vocabulary.write("slogan", random, out)),
        }
        match random.chance(700) {
            true => rows.plain("infinity"),
            false => rows.moment((TODAY + random.between(-400, 900)) * DAY),
        }
        let created = TODAY * DAY - random.between(DAY, 2000 * DAY);
        rows.moment(created);
        rows.moment(created + random.between(0, DAY));
        rows.end()?;
    }
    Ok(())
}

fn figures(rows: &mut Rows<'_>, random: &mut Random) {
    let (x, y) = (random.between(-180_000_000, 180_000_000), random.between(-90_000_000, 90_000_000));
    rows.maybe((!random.chance(150)).then_some(()), |out, ()| {
        out.extend_from_slice(format!("({},{})", x as f64 / 1e6, y as f64 / 1e6).as_bytes());
    });
    let seats = random.between(10, 600);
    rows.maybe(random.chance(500).then_some(()), |out, ()| {
        out.extend_from_slice(format!("[{},{})", seats / 4, seats).as_bytes());
    });
    rows.money(random.between(9_900, 950_000));
    match random.below(40) {
        0 => rows.plain("NaN"),
        1..5 => rows.null(),
        _ => rows.with(|out| {
            out.extend_from_slice(format!("{}", random.between(100, 500) as f64 / 97.0).as_bytes())
        }),
    }
    rows.number(random.between(0, 900));
    rows.maybe(random.chance(400).then_some(()), |out, ()| {
        let mut star = || random.below(6);
        let text = format!("{{{{{},{},{}}},{{{},{},NULL}}}}", star(), star(), star(), star(), star());
        out.extend_from_slice(text.as_bytes());
    });
}

fn write_suppliers(plan: &Plan, rows: &mut Rows<'_>) -> io::Result<()> {
    let random = &mut plan.random("suppliers");
    for n in 1..=plan.suppliers {
        let contact = Person::any(&plan.vocabulary, random);
        rows.number(n as i64);
        rows.maybe(random.chance(600).then_some(()), |out, ()| write_number(out, plan.any_vendor(random)));
        rows.with(|out| plan.vocabulary.write("company", random, out));
        rows.with(|out| {
            out.extend_from_slice(format!("{} {}", contact.first.text, contact.last.text).as_bytes())
        });
        rows.maybe(random.chance(850).then_some(()), |out, ()| contact.write_email(random, None, out));
        rows.with(|out| {
            out.extend_from_slice(contact.culture.country.as_bytes());
            write_number(out, random.between(100_000_000, 999_999_999));
        });
        write_products(plan, rows, random);
        let from = random.between(1, 20);
        rows.with(|out| {
            out.extend_from_slice(format!("[{from},{})", from + random.between(1, 30)).as_bytes())
        });
        rows.with(|out| out.extend_from_slice(format!("{:02}:30:00", random.between(5, 10)).as_bytes()));
        rows.with(|out| {
            out.extend_from_slice(
                format!("{} days 04:{:02}:00", random.below(20), random.below(60)).as_bytes(),
            )
        });
        rows.maybe(random.chance(700).then_some(()), |out, ()| {
            out.extend_from_slice(b"\\\\x");
            (0..6).for_each(|_| write_hex(out, &random.bits().to_be_bytes()));
        });
        rows.boolean(!random.chance(90));
        rows.moment(TODAY * DAY - random.between(DAY, 2000 * DAY));
        rows.end()?;
    }
    Ok(())
}

fn write_products(plan: &Plan, rows: &mut Rows<'_>, random: &mut Random) {
    rows.with(|out| {
        out.push(b'{');
        for n in 0..=random.below(5) {
            out.extend_from_slice(if n == 0 { b"\"" } else { b",\"" });
            plan.vocabulary.write("product", random, out);
            out.push(b'"');
        }
        out.push(b'}');
    });
}

fn write_availability(plan: &Plan, rows: &mut Rows<'_>) -> io::Result<()> {
    let random = &mut plan.random("vendor_availability");
    let mut id = 0;
    for vendor in 1..=plan.vendors {
        let mut day = TODAY - random.between(0, 300);
        for _ in 0..random.between(2, 8) {
            id += 1;
            let end = day + random.between(1, 60);
            rows.number(id);
            rows.number(vendor as i64);
            rows.with(|out| {
                out.push(b'[');
                write_day(out, day);
                out.push(b',');
                write_day(out, end);
                out.push(b')');
            });
            rows.with(|out| {
                out.extend_from_slice(
                    format!("[0.{},1.{})", random.between(50, 99), random.below(90)).as_bytes(),
                )
            });
            rows.maybe(random.chance(200).then_some(()), |out, ()| {
                plan.vocabulary.write("sentence", random, out)
            });
            rows.end()?;
            day = end + random.between(0, 30);
        }
    }
    Ok(())
}

fn write_bookings(plan: &Plan, rows: &mut Rows<'_>) -> io::Result<()> {
    let random = &mut plan.random("vendor_bookings");
    let mut invoice = 100_000;
    for wedding in plan.all_weddings() {
        let first = random.below(plan.vendors as usize) as u64;
        for n in 0..BOOKINGS_PER_WEDDING {
            let price = random.between(15_000, 900_000);
            let booked = wedding.planning_moment(random);
            rows.uuid(wedding.id);
            rows.number(((first + n * (plan.vendors / BOOKINGS_PER_WEDDING)) % plan.vendors) as i64 + 1);
            rows.number(invoice);
            rows.money(price);
            rows.money(price * random.between(0, 50) / 100);
            rows.with(|out| {
                out.push(b'{');
                write_day(out, booked / DAY + 14);
                if random.chance(500) {
                    out.push(b',');
                    write_day(out, booked / DAY + 90);
                }
                out.push(b'}');
            });
            rows.maybe(random.chance(650).then_some(()), |out, ()| {
                plan.vocabulary.write("term", random, out)
            });
            rows.with(|out| write_moment(out, booked - booked % SECOND));
            rows.end()?;
            invoice += 10;
        }
    }
    Ok(())
}
