//! Schedules as EventBridge takes them, checked before anything is deployed.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A schedule: `cron(<six fields>)`, `rate(<n> <unit>)` or `at(<local time>)`. Text shape: that text.
///
/// Rules: EventBridge Scheduler user guide, "Schedule types in EventBridge Scheduler", read 2026-11-20.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Schedule(String);

/// The text is no schedule, and why.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("\"{text}\" is not a schedule: {reason}")]
pub struct InvalidSchedule {
    text: String,
    reason: String,
}

impl Schedule {
    /// As EventBridge takes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Schedule {
    type Err = InvalidSchedule;
    fn from_str(text: &str) -> Result<Self, InvalidSchedule> {
        let inside = |name: &str| text.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')');
        let checked = if let Some(fields) = inside("cron") {
            check_cron(fields)
        } else if let Some(rate) = inside("rate") {
            check_rate(rate)
        } else if let Some(time) = inside("at") {
            check_time(time)
        } else {
            Err("use cron(0 2 * * ? *), rate(1 hour) or at(2026-11-20T02:00:00)".to_owned())
        };
        match checked {
            Ok(()) => Ok(Self(text.to_owned())),
            Err(reason) => Err(InvalidSchedule { text: text.to_owned(), reason }),
        }
    }
}

impl TryFrom<String> for Schedule {
    type Error = InvalidSchedule;
    fn try_from(text: String) -> Result<Self, InvalidSchedule> {
        text.parse()
    }
}

impl From<Schedule> for String {
    fn from(schedule: Schedule) -> Self {
        schedule.0
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const DAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// One field of a cron expression.
struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const MINUTES: Field = Field { name: "minutes", least: 0, most: 59, names: &[] };
const HOURS: Field = Field { name: "hours", least: 0, most: 23, names: &[] };
const DAY_OF_MONTH: Field = Field { name: "day of month", least: 1, most: 31, names: &[] };
const MONTH: Field = Field { name: "month", least: 1, most: 12, names: &MONTHS };
const DAY_OF_WEEK: Field = Field { name: "day of week", least: 1, most: 7, names: &DAYS };
const YEAR: Field = Field { name: "year", least: 1970, most: 2199, names: &[] };

fn check_cron(text: &str) -> Result<(), String> {
    let fields: Vec<&str> = text.split(' ').collect();
    let [minutes, hours, day_of_month, month, day_of_week, year] = fields.as_slice() else {
        return Err(format!(
            "cron has six fields (minutes hours day-of-month month day-of-week year), not {}",
            fields.len()
        ));
    };
    for (field, text) in [(MINUTES, minutes), (HOURS, hours), (MONTH, month), (YEAR, year)] {
        field.check(text)?;
    }
    match (*day_of_month, *day_of_week) {
        ("?", "?") => Err("day of month and day of week cannot both be ?".to_owned()),
        (_, "?") => check_day_of_month(day_of_month),
        ("?", _) => check_day_of_week(day_of_week),
        _ => Err("one of day of month and day of week must be ?".to_owned()),
    }
}

fn check_day_of_month(text: &str) -> Result<(), String> {
    match text.strip_suffix('W') {
        _ if text == "L" || text == "LW" => Ok(()),
        Some(day) => DAY_OF_MONTH.number(day).map(|_| ()),
        None => DAY_OF_MONTH.check(text),
    }
}

fn check_day_of_week(text: &str) -> Result<(), String> {
    if let Some((day, which)) = text.split_once('#') {
        DAY_OF_WEEK.number(day)?;
        let week = which.len() == 1 && ("1"..="5").contains(&which);
        return if week { Ok(()) } else { Err(format!("\"{text}\": a month has weeks 1 to 5")) };
    }
    match text.strip_suffix('L') {
        Some("") => Ok(()),
        Some(day) => DAY_OF_WEEK.number(day).map(|_| ()),
        None => DAY_OF_WEEK.check(text),
    }
}

impl Field {
    /// A list of `*`, numbers and ranges, each with an optional step.
    fn check(&self, text: &str) -> Result<(), String> {
        text.split(',').try_for_each(|item| self.check_item(item))
    }

    fn check_item(&self, item: &str) -> Result<(), String> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (item, None),
        };
        if let Some(step) = step {
            let step = digits(step).filter(|step| (1..=self.most).contains(step));
            step.ok_or_else(|| format!("{} \"{item}\": the step is not 1 to {}", self.name, self.most))?;
        }
        match range.split_once('-') {
            _ if range == "*" => Ok(()),
            None => self.number(range).map(|_| ()),
            Some((from, to)) if self.number(from)? > self.number(to)? => {
                Err(format!("{} \"{item}\": the range runs backwards", self.name))
            }
            Some(_) => Ok(()),
        }
    }

    fn number(&self, text: &str) -> Result<u32, String> {
        let named = self.names.iter().zip(self.least..).find(|(name, _)| name.eq_ignore_ascii_case(text));
        let number = named.map(|(_, number)| number).or_else(|| digits(text));
        number
            .filter(|number| (self.least..=self.most).contains(number))
            .ok_or_else(|| format!("{} \"{text}\" is not {} to {}", self.name, self.least, self.most))
    }
}

fn check_rate(text: &str) -> Result<(), String> {
    let wrong = || "a rate is like \"1 hour\" or \"15 minutes\"".to_owned();
    let (count, unit) = text.split_once(' ').ok_or_else(wrong)?;
    let count = digits(count).filter(|&count| count > 0).ok_or_else(wrong)?;
    let units = if count == 1 { ["minute", "hour", "day"] } else { ["minutes", "hours", "days"] };
    if units.contains(&unit) { Ok(()) } else { Err(wrong()) }
}

fn check_time(text: &str) -> Result<(), String> {
    let wrong = || "a time is like 2026-11-20T02:00:00".to_owned();
    let is_plain = text.len() == 19 && text.as_bytes()[10] == b'T';
    if !is_plain {
        return Err(wrong());
    }
    text.parse::<jiff::civil::DateTime>().map(|_| ()).map_err(|_| wrong())
}

fn digits(text: &str) -> Option<u32> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_eventbridge_takes() {
        for text in [
            "cron(0 2 * * ? *)",
            "cron(0/15 * * * ? *)",
            "cron(15 10 ? * MON-FRI 2026-2030)",
            "cron(0 8 1 * ? *)",
            "cron(5,35 14 LW 1,jul ? *)",
            "cron(0 9 ? * 2#1 *)",
            "cron(0 9 ? * 6L *)",
            "cron(0 9 ? * L *)",
            "cron(0 9 15W * ? *)",
            "rate(1 hour)",
            "rate(15 minutes)",
            "at(2026-11-20T02:00:00)",
        ] {
            assert!(text.parse::<Schedule>().is_ok(), "{text}: {:?}", text.parse::<Schedule>());
        }
    }

    #[test]
    fn refuses_what_eventbridge_would_refuse_at_the_deploy() {
        for text in [
            "",
            "0 2 * * *",
            "cron(0 2 * * *)",
            "cron(0 2 * * ? * *)",
            "cron(0  2 * * ? *)",
            "cron(0 2 * * * *)",
            "cron(0 2 ? * ? *)",
            "cron(60 2 * * ? *)",
            "cron(0 24 * * ? *)",
            "cron(0 2 0 * ? *)",
            "cron(0 2 32 * ? *)",
            "cron(0 2 * 13 ? *)",
            "cron(0 2 ? * 8 *)",
            "cron(0 2 ? * MON#6 *)",
            "cron(0 2 ? * FRI-MON *)",
            "cron(0 2 * * ? 1969)",
            "cron(0/0 2 * * ? *)",
            "cron(+1 2 * * ? *)",
            "cron(0 2 * * ? *",
            "rate(0 hours)",
            "rate(1 hours)",
            "rate(2 hour)",
            "rate(5 weeks)",
            "at(2026-11-20)",
            "at(2026-02-30T02:00:00)",
            "at(2026-11-20T02:00:00Z)",
        ] {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
    }

    #[test]
    fn says_which_field_is_wrong() {
        let error = "cron(0 25 * * ? *)".parse::<Schedule>().expect_err("hour 25");
        assert_eq!(
            error.to_string(),
            "\"cron(0 25 * * ? *)\" is not a schedule: hours \"25\" is not 0 to 23"
        );
    }
}
