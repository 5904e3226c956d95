//! The words of the sample: names and places by culture, and a small grammar for prose.
use super::calendar::write_number;
use super::random::Random;
use std::collections::BTreeMap;

const CULTURES: &str = include_str!("cultures.txt");
const GRAMMAR: &str = include_str!("grammar.txt");

/// Names, places and prose.
pub struct Vocabulary {
    /// At least one; each with at least one name and place.
    pub cultures: Vec<Culture>,
    rules: Vec<Vec<Vec<Piece>>>,
    names: BTreeMap<&'static str, usize>,
}

/// One culture's names and places; the format of the file is said at its top.
#[derive(Default)]
pub struct Culture {
    pub country: &'static str,
    pub phone_prefix: &'static str,
    pub time_zone: &'static str,
    pub locale: &'static str,
    pub first: Vec<Name>,
    pub last: Vec<Name>,
    pub native: Vec<&'static str>,
    /// City, region, and the pattern of the postcode.
    pub cities: Vec<[&'static str; 3]>,
    pub streets: Vec<&'static str>,
}

/// A name, and what an e-mail address makes of it.
pub struct Name {
    pub text: &'static str,
    pub folded: String,
}

enum Piece {
    Literal(&'static str),
    Rule(usize),
    /// A rule whose text begins with a capital.
    Sentence(usize),
    First,
    Last,
    City,
    Number,
    Digit,
}

impl Vocabulary {
    /// Reads the word lists, which are part of the program.
    pub fn new() -> Self {
        let names: BTreeMap<_, _> =
            grammar_lines().enumerate().map(|(index, (name, _))| (name, index)).collect();
        let rules = grammar_lines().map(|(_, choices)| parse_choices(choices, &names)).collect();
        Self { cultures: parse_cultures(), rules, names }
    }

    /// Appends prose made by the rule of that name, with a capital at its start. It holds no double quote, backslash,
    /// tab or line end.
    pub fn write(&self, rule: &str, random: &mut Random, out: &mut Vec<u8>) {
        let start = out.len();
        let rule = *self.names.get(rule).expect("every rule that the code names is in grammar.txt");
        self.expand(rule, random, out);
        capitalise(&mut out[start..]);
    }

    fn expand(&self, rule: usize, random: &mut Random, out: &mut Vec<u8>) {
        let choices = &self.rules[rule];
        for piece in &choices[random.below(choices.len())] {
            match piece {
                Piece::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Sentence(inner) => {
                    let start = out.len();
                    self.expand(*inner, random, out);
                    capitalise(&mut out[start..]);
                }
                Piece::Rule(inner) => self.expand(*inner, random, out),
                Piece::Number => write_number(out, random.between(2, 120)),
                Piece::Digit => out.push(b'1' + random.below(9) as u8),
                Piece::First | Piece::Last | Piece::City => self.write_name(piece, random, out),
            }
        }
    }

    fn write_name(&self, piece: &Piece, random: &mut Random, out: &mut Vec<u8>) {
        let culture = &self.cultures[random.below(self.cultures.len())];
        let name = match piece {
            Piece::First => culture.first[random.below(culture.first.len())].text,
            Piece::Last => culture.last[random.below(culture.last.len())].text,
            _ => culture.cities[random.below(culture.cities.len())][0],
        };
        out.extend_from_slice(name.as_bytes());
    }
}

fn capitalise(text: &mut [u8]) {
    if let Some(first) = text.first_mut() {
        first.make_ascii_uppercase();
    }
}

/// The rules of the grammar in order: name and choices.
fn grammar_lines() -> impl Iterator<Item = (&'static str, &'static str)> {
    GRAMMAR.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(": "))
}

fn parse_choices(choices: &'static str, names: &BTreeMap<&str, usize>) -> Vec<Vec<Piece>> {
    // A joiner may begin with a space of its own; only the bar's own spaces are cut.
    choices.split(" | ").map(|choice| parse_pieces(choice, names)).collect()
}

fn parse_pieces(choice: &'static str, names: &BTreeMap<&str, usize>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = choice;
    while let Some((before, (slot, after))) =
        rest.split_once('{').and_then(|(before, tail)| Some((before, tail.split_once('}')?)))
    {
        pieces.push(Piece::Literal(before));
        pieces.push(match slot {
            "#" => Piece::Number,
            "9" => Piece::Digit,
            "first" => Piece::First,
            "last" => Piece::Last,
            "city" => Piece::City,
            "sentence" => Piece::Sentence(names["sentence"]),
            rule => Piece::Rule(*names.get(rule).expect("every slot of grammar.txt names a rule")),
        });
        rest = after;
    }
    pieces.push(Piece::Literal(rest));
    pieces
}

fn parse_cultures() -> Vec<Culture> {
    let mut cultures: Vec<Culture> = Vec::new();
    for line in CULTURES.lines().filter(|line| !line.starts_with('#')) {
        if let Some(head) = line.strip_prefix('[') {
            cultures.push(parse_head(head.trim_end_matches(']')));
        } else if let (Some((key, values)), Some(culture)) = (line.split_once(": "), cultures.last_mut()) {
            let values = values.split(", ");
            match key {
                "first" => culture.first = values.map(name).collect(),
                "last" => culture.last = values.map(name).collect(),
                "native" => culture.native = values.collect(),
                "city" => culture.cities = values.map(city).collect(),
                _ => culture.streets = values.collect(),
            }
        }
    }
    cultures
}

fn parse_head(head: &'static str) -> Culture {
    let mut words = head.split(' ');
    let mut next = || words.next().unwrap_or_default();
    let (country, phone_prefix, time_zone, locale) = (next(), next(), next(), next());
    Culture { country, phone_prefix, time_zone, locale, ..Culture::default() }
}

fn city(text: &'static str) -> [&'static str; 3] {
    let mut parts = text.split('|');
    [(); 3].map(|()| parts.next().unwrap_or_default())
}

fn name(text: &'static str) -> Name {
    Name { text, folded: text.chars().filter_map(folded).collect() }
}

/// The plain small letter for a letter of a name; none for what has no place in an e-mail address.
fn folded(letter: char) -> Option<char> {
    const FOLDS: [(&str, char); 18] = [
        ("àáâãäåąăāảạấầẩẫậắằẳẵặ", 'a'),
        ("çćč", 'c'),
        ("đďð", 'd'),
        ("èéêëęěẻẽẹếềểễệ", 'e'),
        ("ğ", 'g'),
        ("ìíîïıĩỉị", 'i'),
        ("ł", 'l'),
        ("ñńň", 'n'),
        ("òóôõöøőơỏọốồổỗộớờởỡợ", 'o'),
        ("řŕ", 'r'),
        ("śšşș", 's'),
        ("ß", 's'),
        ("ťţț", 't'),
        ("ùúûüűůũưủụứừửữự", 'u'),
        ("ýÿỳỷỹỵ", 'y'),
        ("źżž", 'z'),
        ("æ", 'a'),
        ("œ", 'o'),
    ];
    let letter = letter.to_lowercase().next()?;
    if letter.is_ascii_alphabetic() {
        return Some(letter);
    }
    FOLDS.iter().find(|(letters, _)| letters.contains(letter)).map(|(_, plain)| *plain)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn there_are_several_hundred_first_and_last_names() {
        let cultures = Vocabulary::new().cultures;
        assert!(cultures.iter().map(|culture| culture.first.len()).sum::<usize>() > 400);
        assert!(cultures.iter().map(|culture| culture.last.len()).sum::<usize>() > 400);
        for culture in &cultures {
            assert!(!culture.cities.is_empty() && !culture.streets.is_empty(), "{}", culture.country);
            assert!(culture.cities.iter().flatten().all(|part| !part.is_empty()), "{}", culture.country);
            assert_eq!(culture.country.len(), 2);
        }
    }

    #[test]
    fn every_name_gives_an_address_of_plain_letters() {
        for culture in Vocabulary::new().cultures {
            for name in culture.first.iter().chain(&culture.last) {
                let letters = name.text.chars().filter(|letter| letter.is_alphabetic()).count();
                assert_eq!(name.folded.len(), letters, "{}", name.text);
            }
        }
    }

    #[test]
    fn prose_holds_nothing_that_would_need_an_escape() {
        let vocabulary = Vocabulary::new();
        let mut random = Random::of(1, "prose", 0);
        let mut out = Vec::new();
        for rule in vocabulary.names.keys() {
            for _ in 0..200 {
                vocabulary.write(rule, &mut random, &mut out);
            }
        }
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains(['"', '\\', '\t', '\n', '{', '}']));
    }
}
