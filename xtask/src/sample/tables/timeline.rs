//! `timeline_events`.
use super::Table;
use crate::sample::calendar::{SECOND, write_number};
use crate::sample::odd;
use crate::sample::plan::Plan;
use crate::sample::rows::Rows;
use std::io;

pub const TIMELINE_EVENTS: Table = Table {
    name: "timeline_events",
    columns: "id, wedding_id, title, description, location, starts_at, ends_at, vendor_id, sort_order, is_public, \
              updated_at",
    partitioned: false,
    write,
};

fn write(plan: &Plan, rows: &mut Rows<'_>) -> io::Result<()> {
    let random = &mut plan.random("timeline_events");
    let mut id = 0;
    for wedding in plan.all_weddings() {
        let mut starts = wedding.ceremony - 4 * 3600 * SECOND;
        for order in 1..=random.between(8, 18) {
            id += 1;
            let ends = starts + random.between(1, 18) * 600 * SECOND;
            rows.number(id);
            rows.uuid(wedding.id);
            rows.with(|out| plan.vocabulary.write("event", random, out));
            match random.below(30) {
                0 => rows.text(odd::text(random)),
                1..6 => rows.plain(""),
                _ => rows.with(|out| plan.vocabulary.write("sentence", random, out)),
            }
            rows.maybe(random.chance(880).then_some(()), |out, ()| {
                plan.vocabulary.write("location", random, out)
            });
            rows.moment(starts);
            rows.moment(ends);
            rows.maybe(random.chance(400).then_some(()), |out, ()| {
                write_number(out, plan.any_vendor(random))
            });
            rows.number(order);
            rows.boolean(!random.chance(150));
            rows.moment(wedding.planning_moment(random));
            rows.end()?;
            starts = ends - random.between(0, 1) * 300 * SECOND;
        }
    }
    Ok(())
}
