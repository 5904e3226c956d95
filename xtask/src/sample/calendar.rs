//! Days and moments as Postgres writes them. Everything is UTC; nothing reads a clock.
use std::io::Write;

/// One second in the unit of moments: microseconds since 1970.
pub const SECOND: i64 = 1_000_000;
/// One day in microseconds.
pub const DAY: i64 = 86_400 * SECOND;
/// The sample's present: 2026-11-01, in days since 1970.
pub const TODAY: i64 = 20_758;

/// Appends a day, given in days since 1970, as `YYYY-MM-DD`.
pub fn write_day(out: &mut Vec<u8>, day: i64) {
    let (year, month, day) = civil(day);
    for (value, digits) in [(year, 4), (month, 2), (day, 2)] {
        if digits == 2 {
            out.push(b'-');
        }
        write_digits(out, value, digits);
    }
}

/// Appends a moment as `YYYY-MM-DD HH:MM:SS.ffffff+00`.
pub fn write_moment(out: &mut Vec<u8>, moment: i64) {
    write_local(out, moment);
    out.extend_from_slice(b"+00");
}

/// Appends a moment as `YYYY-MM-DD HH:MM:SS.ffffff`, for timestamps without time zone.
pub fn write_local(out: &mut Vec<u8>, moment: i64) {
    write_day(out, moment.div_euclid(DAY));
    let micros = moment.rem_euclid(DAY);
    let seconds = micros / SECOND;
    for (separator, value) in [(b' ', seconds / 3600), (b':', seconds / 60 % 60), (b':', seconds % 60)] {
        out.push(separator);
        write_digits(out, value, 2);
    }
    out.push(b'.');
    write_digits(out, micros % SECOND, 6);
}

/// Appends a number in decimal.
pub fn write_number(out: &mut Vec<u8>, value: i64) {
    write!(out, "{value}").expect("writing to memory does not fail");
}

fn write_digits(out: &mut Vec<u8>, value: i64, digits: u32) {
    let mut divisor = 10_i64.pow(digits - 1);
    while divisor > 0 {
        out.push(b'0' + (value / divisor % 10) as u8);
        divisor /= 10;
    }
}

/// Year, month and day of the Gregorian calendar (Hinnant's `civil_from_days`).
fn civil(day: i64) -> (i64, i64, i64) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * month_from_march + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn days_and_moments_are_written_as_postgres_writes_them() {
        assert_eq!(text(|out| write_day(out, TODAY)), "2026-11-01");
        assert_eq!(text(|out| write_day(out, 11_016)), "2000-02-29");
        assert_eq!(text(|out| write_moment(out, 0)), "1970-01-01 00:00:00.000000+00");
        assert_eq!(text(|out| write_moment(out, -1)), "1969-12-31 23:59:59.999999+00");
    }
}
