//! The table with the difficult name.
use super::Table;
use crate::sample::odd;
use crate::sample::plan::Plan;
use crate::sample::rows::Rows;
use std::io;

pub const SEATING: Table = Table {
    name: "\"Gästebuch – Sitzplätze\"",
    columns: "\"WeddingId\", \"Tisch Nr\", \"Größe\", \"Wünsche ✨\", \"order\"",
    partitioned: false,
    write,
};

fn write(plan: &Plan, rows: &mut Rows<'_>) -> io::Result<()> {
    let random = &mut plan.random("seating");
    for wedding in plan.all_weddings() {
        for table in 1..=wedding.guests.div_ceil(10) {
            rows.uuid(wedding.id);
            rows.number(table as i64);
            rows.number(random.between(4, 14));
            match random.below(6) {
                0 => rows.text(odd::text(random)),
                1..4 => rows.with(|out| plan.vocabulary.write("guestnote", random, out)),
                _ => rows.null(),
            }
            let seats = format!("{:012b}", random.below(4096));
            rows.plain(&seats[random.below(12)..]);
            rows.end()?;
        }
    }
    Ok(())
}
