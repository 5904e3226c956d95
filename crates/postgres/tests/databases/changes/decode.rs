//! Messages of `pgoutput` as lines to compare, decoded after the documentation and not by our own parser.

use keepsake_domain::Lsn;
use std::collections::BTreeMap;

/// Lines of what was committed; a transaction whose commit is missing stays out.
#[derive(Default)]
pub struct Decoder {
    tables: BTreeMap<u32, String>,
    open: Vec<String>,
    lines: Vec<String>,
    /// What was defined, as the source's own messages tell it; their transactions may hold nothing else.
    told: Vec<String>,
    tells: bool,
    is_open: bool,
    reached: u64,
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken.to_vec()
    }

    fn number(&mut self, bytes: usize) -> u64 {
        self.bytes(bytes).iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn count(&mut self, bytes: usize) -> usize {
        usize::try_from(self.number(bytes)).unwrap()
    }

    fn id(&mut self) -> u32 {
        u32::try_from(self.number(4)).unwrap()
    }

    fn kind(&mut self) -> char {
        char::from(self.bytes(1)[0])
    }

    fn text(&mut self) -> String {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap();
        let text = String::from_utf8(self.bytes(end)).unwrap();
        self.bytes(1);
        text
    }

    fn tuple(&mut self) -> String {
        let cells = (0..self.count(2)).map(|_| match self.kind() {
            'n' => "NULL".to_owned(),
            'u' => "UNCHANGED".to_owned(),
            't' => {
                let length = self.count(4);
                let text = String::from_utf8(self.bytes(length)).unwrap();
                if length > 60 { format!("{length} bytes of {}", &text[..1]) } else { text }
            }
            other => panic!("a cell of kind {other}"),
        });
        cells.collect::<Vec<_>>().join("|")
    }
}

impl Decoder {
    pub fn take(&mut self, start: Lsn, payload: &[u8]) {
        let mut reader = Reader(payload);
        let line = match reader.kind() {
            'B' => {
                assert!(!self.is_open, "transactions are whole");
                (self.is_open, self.open, self.tells) = (true, vec!["BEGIN".to_owned()], false);
                return;
            }
            'C' => {
                assert!(self.is_open, "transactions are whole");
                assert!(start.0 > self.reached, "commits go forward");
                self.is_open = false;
                self.reached = start.0;
                if self.tells && self.open.len() == 1 {
                    return;
                }
                self.lines.append(&mut self.open);
                self.lines.push("COMMIT".to_owned());
                return;
            }
            'R' => {
                let id = reader.id();
                let name = format!("{}.{}", reader.text(), reader.text());
                self.tables.insert(id, name);
                return;
            }
            'Y' | 'O' => return,
            'M' => {
                let is_transactional = reader.number(1) == 1;
                reader.number(8);
                let prefix = reader.text();
                let length = reader.count(4);
                let content = String::from_utf8(reader.bytes(length)).unwrap();
                if !is_transactional {
                    return;
                }
                if prefix == "keepsake.ddl.end" {
                    return;
                }
                if prefix == "keepsake.ddl" {
                    assert!(self.is_open, "a definition outside of a transaction: {content}");
                    self.told.push(content);
                    self.tells = true;
                    return;
                }
                format!("MESSAGE {prefix} {content}")
            }
            'T' => {
                let count = reader.count(4);
                reader.number(1);
                let names = (0..count).map(|_| self.tables[&reader.id()].clone());
                format!("TRUNCATE {}", names.collect::<Vec<_>>().join(", "))
            }
            kind => {
                let table = self.tables[&reader.id()].clone();
                let verb = match kind {
                    'I' => "INSERT",
                    'U' => "UPDATE",
                    'D' => "DELETE",
                    other => panic!("a message of kind {other}"),
                };
                let mut line = format!("{verb} {table}");
                while !reader.0.is_empty() {
                    line.push_str(&format!(" {} {}", reader.kind(), reader.tuple()));
                }
                line
            }
        };
        assert!(self.is_open, "a change outside of a transaction: {line}");
        self.open.push(line);
    }

    pub fn lines(self) -> Vec<String> {
        self.lines
    }

    /// What was defined, in JSON.
    pub fn told(&self) -> &[String] {
        &self.told
    }
}
