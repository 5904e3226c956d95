//! Tables and sequences as a backup sees them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// An SQL identifier in double quotes, safe to stand in a statement.
#[must_use]
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

macro_rules! qualified_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name {
            /// Schema, unquoted.
            pub schema: String,
            /// Name within the schema, unquoted.
            pub name: String,
        }

        impl $name {
            /// Both parts quoted and joined, safe to stand in a statement.
            #[must_use]
            pub fn quoted(&self) -> String {
                format!("{}.{}", quote_identifier(&self.schema), quote_identifier(&self.name))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}.{}", self.schema, self.name)
            }
        }
    };
}

qualified_name!(
    /// A table's name. `Display` is for people; statements take [`TableName::quoted`].
    TableName
);
qualified_name!(
    /// A sequence's name. `Display` is for people; statements take [`SequenceName::quoted`].
    SequenceName
);

/// A table that holds rows of its own: a plain table, a partition, or an extension's configuration table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableShape {
    /// Its name.
    pub table: TableName,
    /// Columns that `COPY` carries, in their order; generated columns are left out.
    pub columns: Vec<String>,
    /// Size of the main fork in blocks of 8 KiB, at the time of the plan; it may have grown since.
    pub blocks: u32,
    /// Bytes on the source's disk with TOAST, without indexes.
    pub size_bytes: u64,
    /// Only these rows are dumped (an extension's configuration table); empty means all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub filter: String,
    /// Of a partition whose rows another server may put into another partition of the same table: that table. Its
    /// rows are loaded and compared there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<TableName>,
}

/// Where a sequence stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SequenceValue {
    /// Its name.
    pub sequence: SequenceName,
    /// `last_value`.
    pub last_value: i64,
    /// Whether `last_value` was handed out already.
    pub is_called: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_inside_a_name_are_doubled() {
        let table = TableName { schema: "we\"d".into(), name: "Gäste\n1".into() };
        assert_eq!(table.quoted(), "\"we\"\"d\".\"Gäste\n1\"");
    }
}
