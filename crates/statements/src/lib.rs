//! Which statement of a schema change is so plain that a restore may run it again. Read by PostgreSQL's own parser.
//!
//! A list of what is allowed, and no more: a part of a statement that is not looked at has to be as in the plainest one.

mod alter;
mod column;
mod expression;

use alter::altered;
use column::{column, column_names, string};
use expression::is_plain_expression;
use keepsake_domain::{PlainStatement, WrittenName};
use pg_query::protobuf::{
    CommentStmt, ConstrType, Constraint, CreateStmt, IndexElem, IndexStmt, Node, ObjectType, OnCommitAction,
    RangeVar,
};
use pg_query::{NodeEnum, ParserOptions};

/// Longer names are cut by the server.
pub(crate) const NAME_BYTES: usize = 63;

/// What a text of SQL defines, if it is one statement of the list.
#[must_use]
pub fn plain_statement(sql: &str) -> Option<PlainStatement> {
    let parsed = pg_query::parse(sql, ParserOptions::DEFAULT).ok()?;
    let [only] = parsed.protobuf.stmts.as_slice() else { return None };
    match only.stmt.as_ref()?.node.as_ref()? {
        NodeEnum::CreateStmt(create) => new_table(create),
        NodeEnum::AlterTableStmt(alter) => altered(alter),
        NodeEnum::IndexStmt(index) => new_index(index),
        NodeEnum::CommentStmt(comment) => is_plain_comment(comment).then_some(PlainStatement::Comment),
        _ => None,
    }
}

pub(crate) fn written(relation: Option<&RangeVar>) -> Option<WrittenName> {
    let relation = relation?;
    let is_plain = relation.catalogname.is_empty()
        && relation.inh
        && relation.relpersistence == "p"
        && relation.alias.is_none();
    let schema = Some(relation.schemaname.clone()).filter(|schema| !schema.is_empty());
    is_plain.then(|| WrittenName { schema, name: relation.relname.clone() })
}

/// With a primary key, so that its changes are captured; without whatever refers to other objects or computes anything but the
/// time and numbers.
fn new_table(create: &CreateStmt) -> Option<PlainStatement> {
    let name = written(create.relation.as_ref())?;
    let beside = CreateStmt {
        relation: None,
        table_elts: Vec::new(),
        oncommit: OnCommitAction::OncommitNoop.into(),
        if_not_exists: create.if_not_exists,
        ..CreateStmt::default()
    };
    if (CreateStmt { relation: None, table_elts: Vec::new(), ..create.clone() }) != beside {
        return None;
    }
    let (mut columns, mut relations, mut has_key) = (Vec::new(), Vec::new(), false);
    for element in &create.table_elts {
        match element.node.as_ref()? {
            NodeEnum::ColumnDef(definition) => {
                let found = column(definition)?;
                let own = [found.name.clone()];
                for constraint in &found.constraints {
                    has_key |= constraint.contype() == ConstrType::ConstrPrimary;
                    relations.extend(index_name(&name.name, constraint, &own));
                }
                if found.has_sequence {
                    relations.push(format!("{}_{}_seq", name.name, found.name));
                }
                columns.push(found.name);
            }
            NodeEnum::Constraint(check) if check.contype() == ConstrType::ConstrCheck => {
                column::constraint(element)?;
            }
            NodeEnum::Constraint(constraint) => {
                let (is_key, keys) = table_key(constraint)?;
                has_key |= is_key;
                relations.extend(index_name(&name.name, constraint, &keys));
            }
            _ => return None,
        }
    }
    // What is longer is cut, and named in a way that is not repeated here.
    let fit = relations.iter().all(|relation| relation.len() <= NAME_BYTES);
    (has_key && fit).then_some(PlainStatement::NewTable { name, columns, relations })
}

/// How the server calls the index of a key if nobody has the name.
pub(crate) fn index_name(table: &str, constraint: &Constraint, keys: &[String]) -> Option<String> {
    if !matches!(constraint.contype(), ConstrType::ConstrPrimary | ConstrType::ConstrUnique) {
        return None;
    }
    if !constraint.conname.is_empty() {
        return Some(constraint.conname.clone());
    }
    Some(match constraint.contype() {
        ConstrType::ConstrPrimary => format!("{table}_pkey"),
        _ => format!("{table}_{}_key", keys.join("_")),
    })
}

/// Whether a key of a whole table is the primary one, and its columns.
pub(crate) fn table_key(constraint: &Constraint) -> Option<(bool, Vec<String>)> {
    let kind = constraint.contype();
    let is_key = matches!(kind, ConstrType::ConstrPrimary | ConstrType::ConstrUnique);
    let keys = column_names(&constraint.keys)?;
    (is_key && column::is_plain(constraint)).then_some((kind == ConstrType::ConstrPrimary, keys))
}

/// On columns and plain expressions, so that nothing of a user's runs while it is built.
fn new_index(index: &IndexStmt) -> Option<PlainStatement> {
    let name = written(index.relation.as_ref())?;
    let unique_in = index.unique.then_some(name);
    is_plain_index(index).then_some(PlainStatement::NewIndex { unique_in })
}

fn is_plain_index(index: &IndexStmt) -> bool {
    let beside = IndexStmt {
        idxname: index.idxname.clone(),
        access_method: index.access_method.clone(),
        unique: index.unique,
        nulls_not_distinct: index.nulls_not_distinct,
        if_not_exists: index.if_not_exists,
        ..IndexStmt::default()
    };
    let found = IndexStmt {
        relation: None,
        index_params: Vec::new(),
        index_including_params: Vec::new(),
        where_clause: None,
        ..index.clone()
    };
    let methods = ["btree", "hash", "gin", "gist", "brin"];
    found == beside
        && index.where_clause.as_ref().is_none_or(|condition| is_plain_expression(condition))
        && methods.contains(&index.access_method.as_str())
        && index.index_params.iter().chain(&index.index_including_params).all(is_plain_place)
}

fn is_plain_place(element: &Node) -> bool {
    let Some(NodeEnum::IndexElem(element)) = element.node.as_ref() else { return false };
    let beside = IndexElem {
        name: element.name.clone(),
        expr: element.expr.clone(),
        ordering: element.ordering,
        nulls_ordering: element.nulls_ordering,
        ..IndexElem::default()
    };
    let is_plain = element.expr.as_ref().is_none_or(|value| is_plain_expression(value));
    is_plain && **element == beside
}

fn is_plain_comment(comment: &CommentStmt) -> bool {
    let Some(NodeEnum::List(name)) = comment.object.as_ref().and_then(|object| object.node.as_ref()) else {
        return false;
    };
    matches!(comment.objtype(), ObjectType::ObjectTable | ObjectType::ObjectColumn)
        && name.items.iter().all(|part| string(part).is_some())
}

#[cfg(test)]
mod tests;
