//! Columns: of types that every server has, filled with constants, numbers and the time.

use crate::NAME_BYTES;
use crate::expression::{is_plain_cast, is_plain_constant, is_plain_expression};
use pg_query::NodeEnum;
use pg_query::protobuf::{ColumnDef, ConstrType, Constraint, FuncCall, Node, TypeName, a_const};

/// Types without code of a user's behind them, as PostgreSQL's grammar calls them and as people do.
const TYPES: [&str; 34] = [
    "bool",
    "bpchar",
    "bytea",
    "char",
    "cidr",
    "date",
    "float4",
    "float8",
    "inet",
    "int2",
    "int4",
    "int8",
    "interval",
    "json",
    "jsonb",
    "macaddr",
    "numeric",
    "text",
    "time",
    "timestamp",
    "timestamptz",
    "timetz",
    "uuid",
    "varchar",
    "bit",
    "varbit",
    "point",
    "tsvector",
    "int4range",
    "int8range",
    "numrange",
    "daterange",
    "tsrange",
    "tstzrange",
];
/// Of them those whose values are read from a text in the same way at any time, whatever a session's settings: `'now'` is another time
/// each time, and a date depends on `DateStyle`.
pub(crate) const READ_ALIKE: [&str; 7] = ["bool", "bpchar", "char", "json", "jsonb", "text", "varchar"];
/// Types that make a sequence.
const SERIALS: [&str; 6] = ["smallserial", "serial2", "serial", "serial4", "bigserial", "serial8"];
/// Functions that a default may call, without arguments.
const FUNCTIONS: [&str; 5] =
    ["clock_timestamp", "gen_random_uuid", "now", "statement_timestamp", "transaction_timestamp"];

pub(crate) struct Column<'a> {
    pub name: String,
    pub has_sequence: bool,
    pub constraints: Vec<&'a Constraint>,
}

/// A column, if all of it is plain.
pub(crate) fn column(definition: &ColumnDef) -> Option<Column<'_>> {
    let beside = ColumnDef { is_local: true, ..ColumnDef::default() };
    let rest = ColumnDef {
        colname: String::new(),
        type_name: None,
        constraints: Vec::new(),
        location: 0,
        ..definition.clone()
    };
    let type_name = definition.type_name.as_ref()?;
    let is_serial = is_of(type_name, &SERIALS) && type_name.array_bounds.is_empty();
    let is_whole = definition.colname.len() <= NAME_BYTES;
    if rest != beside || !is_whole || !(is_serial || is_of(type_name, &TYPES)) {
        return None;
    }
    let constraints = definition.constraints.iter().map(constraint).collect::<Option<Vec<_>>>()?;
    let reads_alike = is_of(type_name, &READ_ALIKE) && type_name.array_bounds.is_empty();
    let is_array = !type_name.array_bounds.is_empty();
    if defaults(&constraints)
        .any(|value| is_written(value) && !reads_alike && !(is_array && is_empty_array(value)))
    {
        return None;
    }
    let is_identity = constraints.iter().any(|one| one.contype() == ConstrType::ConstrIdentity);
    Some(Column { name: definition.colname.clone(), has_sequence: is_serial || is_identity, constraints })
}

pub(crate) fn is_of(found: &TypeName, types: &[&str]) -> bool {
    let beside = TypeName {
        names: found.names.clone(),
        typmods: found.typmods.clone(),
        typemod: found.typemod,
        array_bounds: found.array_bounds.clone(),
        location: found.location,
        ..TypeName::default()
    };
    let names: Option<Vec<&str>> = found.names.iter().map(string).collect();
    let name = match names.as_deref() {
        Some([name] | ["pg_catalog", name]) => *name,
        _ => return false,
    };
    let constants = found.typmods.iter().all(|one| matches!(one.node, Some(NodeEnum::AConst(_))));
    *found == beside && types.contains(&name) && constants
}

pub(crate) fn constraint(node: &Node) -> Option<&Constraint> {
    let Some(NodeEnum::Constraint(found)) = node.node.as_ref() else { return None };
    let fits = match found.contype() {
        ConstrType::ConstrNull
        | ConstrType::ConstrNotnull
        | ConstrType::ConstrPrimary
        | ConstrType::ConstrUnique
        | ConstrType::ConstrIdentity => found.raw_expr.is_none(),
        ConstrType::ConstrCheck => found.raw_expr.as_ref().is_some_and(|value| is_plain_expression(value)),
        ConstrType::ConstrDefault => found.raw_expr.as_ref().is_some_and(|value| is_plain_value(value)),
        _ => false,
    };
    (fits && is_plain(found)).then_some(found)
}

/// Whether nothing stands in it but its kind, its name, its columns, its value, and when an identity is drawn.
pub(crate) fn is_plain(found: &Constraint) -> bool {
    let beside = Constraint {
        contype: found.contype,
        conname: found.conname.clone(),
        is_enforced: found.is_enforced,
        initially_valid: found.initially_valid,
        raw_expr: found.raw_expr.clone(),
        generated_when: found.generated_when.clone(),
        nulls_not_distinct: found.nulls_not_distinct,
        keys: found.keys.clone(),
        location: found.location,
        ..Constraint::default()
    };
    *found == beside
}

/// Values of a column for rows that say none.
pub(crate) fn defaults<'a>(constraints: &[&'a Constraint]) -> impl Iterator<Item = &'a Node> {
    let is_default = |one: &&&Constraint| one.contype() == ConstrType::ConstrDefault;
    constraints.iter().filter(is_default).filter_map(|one| one.raw_expr.as_deref())
}

/// Whether it is a constant, and whether that is a value.
pub(crate) fn constant(value: &Node) -> Option<bool> {
    match value.node.as_ref()? {
        NodeEnum::AConst(constant) => Some(!constant.isnull),
        NodeEnum::TypeCast(cast) => match cast.arg.as_ref()?.node.as_ref()? {
            NodeEnum::AConst(constant) => Some(!constant.isnull),
            _ => None,
        },
        _ => None,
    }
}

/// Whether it is plain as a default of a column whose type nobody knows.
pub(crate) fn is_plain_default(value: &Node) -> bool {
    match value.node.as_ref() {
        Some(NodeEnum::AConst(constant)) => is_plain_constant(constant),
        Some(NodeEnum::TypeCast(cast)) => is_plain_cast(cast),
        Some(NodeEnum::SqlvalueFunction(_)) => true,
        Some(NodeEnum::FuncCall(call)) => is_plain_call(call),
        _ => false,
    }
}

fn is_empty_array(value: &Node) -> bool {
    match value.node.as_ref() {
        Some(NodeEnum::AConst(constant)) => {
            matches!(&constant.val, Some(a_const::Val::Sval(text)) if text.sval == "{}")
        }
        _ => false,
    }
}

/// Whether it is a text that the column's type has to read.
fn is_written(value: &Node) -> bool {
    match value.node.as_ref() {
        Some(NodeEnum::AConst(constant)) => {
            matches!(constant.val, Some(a_const::Val::Sval(_) | a_const::Val::Bsval(_)))
        }
        Some(NodeEnum::TypeCast(_)) => true,
        _ => false,
    }
}

fn is_plain_value(value: &Node) -> bool {
    match value.node.as_ref() {
        Some(NodeEnum::AConst(_) | NodeEnum::SqlvalueFunction(_)) => true,
        Some(NodeEnum::TypeCast(cast)) => {
            let is_constant = |arg: &Node| matches!(arg.node, Some(NodeEnum::AConst(_)));
            cast.arg.as_ref().is_some_and(|arg| is_constant(arg))
                && cast.type_name.as_ref().is_some_and(|name| is_of(name, &TYPES))
        }
        Some(NodeEnum::FuncCall(call)) => is_plain_call(call),
        _ => false,
    }
}

fn is_plain_call(call: &FuncCall) -> bool {
    let beside = FuncCall {
        funcname: call.funcname.clone(),
        funcformat: call.funcformat,
        location: call.location,
        ..FuncCall::default()
    };
    let names: Option<Vec<&str>> = call.funcname.iter().map(string).collect();
    let name = match names.as_deref() {
        Some([name] | ["pg_catalog", name]) => *name,
        _ => return false,
    };
    *call == beside && FUNCTIONS.contains(&name)
}

pub(crate) fn string(node: &Node) -> Option<&str> {
    match node.node.as_ref() {
        Some(NodeEnum::String(text)) => Some(&text.sval),
        _ => None,
    }
}

pub(crate) fn column_names(keys: &[Node]) -> Option<Vec<String>> {
    keys.iter().map(|key| string(key).map(str::to_owned)).collect()
}
