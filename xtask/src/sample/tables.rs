//! The tables of the sample in the order in which they are loaded.
mod audit;
mod forms;
mod guests;
mod messages;
mod oddments;
mod photos;
mod seating;
mod timeline;
mod users;
mod vendors;
mod weddings;

pub use oddments::write_large_objects;

use super::plan::Plan;
use super::rows::Rows;
use std::io;

/// One table: what COPY needs to know, and who writes its rows.
pub struct Table {
    /// Quoted and qualified where it must be.
    pub name: &'static str,
    pub columns: &'static str,
    /// A partitioned table takes no COPY with FREEZE.
    pub partitioned: bool,
    pub write: fn(&Plan, &mut Rows<'_>) -> io::Result<()>,
}

/// All tables. One of them stays empty.
pub const TABLES: &[Table] = &[
    users::USER_PROFILES,
    vendors::VENDORS,
    vendors::SUPPLIERS,
    vendors::VENDOR_AVAILABILITY,
    weddings::WEDDINGS,
    vendors::VENDOR_BOOKINGS,
    guests::GUESTS,
    timeline::TIMELINE_EVENTS,
    forms::FORMS,
    forms::CLIENT_DATA,
    photos::PHOTOS,
    messages::MESSAGES,
    oddments::CONTRACTS,
    seating::SEATING,
    oddments::RSVP_IMPORT,
    oddments::GIFT_REGISTRY,
    audit::AUDIT_LOGS,
    audit::CHANGE_HISTORY,
];
