//! People: names, and the addresses and numbers that follow from them.
use super::calendar::write_number;
use super::random::Random;
use super::vocabulary::{Culture, Name, Vocabulary};

const MAIL_HOSTS: &[&str] = &[
    "mail.example",
    "post.example",
    "example.com",
    "example.org",
    "example.net",
    "fastmail.example",
    "students.uni.example",
    "family.example.net",
    "clinic.example.org",
    "inbox.example",
];

/// One person of one culture.
#[derive(Clone, Copy)]
pub struct Person<'v> {
    pub culture: &'v Culture,
    pub first: &'v Name,
    pub last: &'v Name,
}

impl<'v> Person<'v> {
    /// Anybody.
    pub fn any(vocabulary: &'v Vocabulary, random: &mut Random) -> Self {
        Self::of(&vocabulary.cultures[random.below(vocabulary.cultures.len())], random)
    }

    /// Somebody of that culture.
    pub fn of(culture: &'v Culture, random: &mut Random) -> Self {
        let first = &culture.first[random.below(culture.first.len())];
        Self { culture, first, last: &culture.last[random.below(culture.last.len())] }
    }

    /// Somebody of the same family name.
    pub fn relative(&self, random: &mut Random) -> Self {
        Self { first: &self.culture.first[random.below(self.culture.first.len())], ..*self }
    }

    /// Appends an e-mail address made of the name; `number` sets people of one name apart when it is given.
    pub fn write_email(&self, random: &mut Random, number: Option<u64>, out: &mut Vec<u8>) {
        let (first, last) = (self.first.folded.as_bytes(), self.last.folded.as_bytes());
        match random.below(4) {
            0 => out.extend_from_slice(&first[..1]),
            1 => {
                out.extend_from_slice(first);
                out.push(b'_');
            }
            _ => {
                out.extend_from_slice(first);
                out.push(b'.');
            }
        }
        out.extend_from_slice(last);
        match number {
            Some(number) => write_number(out, number as i64),
            None if random.chance(400) => write_number(out, random.between(1, 99)),
            None => {}
        }
        out.push(b'@');
        out.extend_from_slice(random.pick(MAIL_HOSTS).as_bytes());
    }

    /// Appends a phone number in international form.
    pub fn write_phone(&self, random: &mut Random, out: &mut Vec<u8>) {
        out.extend_from_slice(self.culture.phone_prefix.as_bytes());
        out.push(b' ');
        write_number(out, random.between(150, 989));
        out.push(b' ');
        write_number(out, random.between(1_000_000, 9_999_999));
    }
}

/// Appends an address of that culture as a `postal_address`.
pub fn write_address(culture: &Culture, random: &mut Random, out: &mut Vec<u8>) {
    let [city, region, postcode] = culture.cities[random.below(culture.cities.len())];
    let street = culture.streets[random.below(culture.streets.len())];
    out.extend_from_slice(b"(\"");
    fill(street, random, out);
    for part in [city, region] {
        out.extend_from_slice(b"\",\"");
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(b"\",\"");
    fill(postcode, random, out);
    out.extend_from_slice(b"\",");
    out.extend_from_slice(culture.country.as_bytes());
    out.push(b')');
}

/// Appends the pattern with `~` as a house number, `#` as a digit where one is meant, and `@` as a letter.
fn fill(pattern: &str, random: &mut Random, out: &mut Vec<u8>) {
    for byte in pattern.bytes() {
        match byte {
            b'~' => write_number(out, random.between(1, 240)),
            b'#' => out.push(b'0' + random.below(10) as u8),
            b'@' => out.push(b'A' + random.below(26) as u8),
            _ => out.push(byte),
        }
    }
}
