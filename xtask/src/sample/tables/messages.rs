//! `messages`.
use super::Table;
use crate::sample::calendar::{DAY, write_moment, write_number};
use crate::sample::odd;
use crate::sample::plan::Plan;
use crate::sample::rows::Rows;
use std::io;

pub const MESSAGES: Table = Table {
    name: "messages",
    columns: "id, wedding_id, sender_id, guest_id, channel, subject, body, reactions, sent_at, read_at",
    partitioned: false,
    write,
};

const MESSAGES_PER_WEDDING: u64 = 10;

fn write(plan: &Plan, rows: &mut Rows<'_>) -> io::Result<()> {
    let random = &mut plan.random("messages");
    for _ in 0..plan.weddings * MESSAGES_PER_WEDDING {
        let wedding = plan.any_wedding(random);
        rows.uuid(random.uuid());
        rows.uuid(wedding.id);
        rows.uuid(plan.any_user_id(random));
        rows.maybe(random.chance(600).then_some(()), |out, ()| write_number(out, wedding.any_guest(random)));
        rows.plain(random.pick(&["email", "email", "app", "sms"]));
        rows.maybe(random.chance(700).then_some(()), |out, ()| plan.vocabulary.write("subject", random, out));
        match random.chance(40) {
            true => rows.text(odd::text(random)),
            false => rows.with(|out| plan.vocabulary.write("body", random, out)),
        }
        rows.maybe(random.chance(250).then_some(()), |out, ()| {
            out.extend_from_slice(
                format!("{{\"❤️\": {}, \"😂\": {}}}", random.below(9), random.below(4)).as_bytes(),
            );
        });
        let sent = wedding.planning_moment(random);
        rows.moment(sent);
        rows.maybe(random.chance(750).then(|| sent + random.between(1, DAY)), write_moment);
        rows.end()?;
    }
    Ok(())
}
