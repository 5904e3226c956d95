//! `ALTER TABLE`: columns that are added, and what is asked of rows. One statement does one of both: what adds columns runs
//! before any row is loaded, all else behind everything.

use crate::column::{column, column_names, constant, constraint, defaults, is_plain, is_plain_default};
use crate::{NAME_BYTES, index_name, table_key, written};
use keepsake_domain::{PlainStatement, WrittenColumn, WrittenName};
use pg_query::NodeEnum;
use pg_query::protobuf::{
    AlterTableCmd, AlterTableStmt, AlterTableType, ColumnDef, ConstrType, Constraint, DropBehavior, Node,
    ObjectType,
};

pub(crate) fn altered(alter: &AlterTableStmt) -> Option<PlainStatement> {
    let name = written(alter.relation.as_ref())?;
    if alter.objtype() != ObjectType::ObjectTable {
        return None;
    }
    let commands = alter.cmds.iter().map(command).collect::<Option<Vec<_>>>()?;
    let [first, rest @ ..] = commands.as_slice() else { return None };
    match (first.subtype(), rest) {
        (AlterTableType::AtAddColumn, _) => {
            // Which columns there were, nobody tells.
            let may_be_there = first.missing_ok && !rest.is_empty() || rest.iter().any(|one| one.missing_ok);
            let columns = commands.iter().map(|one| new_column(one)).collect::<Option<_>>()?;
            (!may_be_there).then_some(PlainStatement::NewColumns { name, columns })
        }
        (AlterTableType::AtDropNotNull, []) => Some(PlainStatement::Nullable { name, column: of(first)? }),
        (AlterTableType::AtSetNotNull, []) => Some(PlainStatement::Required { name, column: of(first)? }),
        _ => {
            let (mut refers_to, mut relations) = (Vec::new(), Vec::new());
            for one in commands {
                behind(one, &name, &mut refers_to, &mut relations)?;
            }
            Some(PlainStatement::Altered { name, refers_to, relations })
        }
    }
}

fn command(node: &Node) -> Option<&AlterTableCmd> {
    match node.node.as_ref()? {
        NodeEnum::AlterTableCmd(command) => Some(command),
        _ => None,
    }
}

/// Whether nothing stands in it but what it does, the name, what is defined, and whether that may be there.
fn is_bare(command: &AlterTableCmd) -> bool {
    let beside = AlterTableCmd {
        subtype: command.subtype,
        name: command.name.clone(),
        def: command.def.clone(),
        missing_ok: command.missing_ok,
        behavior: DropBehavior::DropRestrict.into(),
        ..AlterTableCmd::default()
    };
    *command == beside
}

/// The column of a command that says no more.
fn of(command: &AlterTableCmd) -> Option<String> {
    let fits = is_bare(command) && command.def.is_none() && command.name.len() <= NAME_BYTES;
    fits.then(|| command.name.clone())
}

/// A column that holds NULL or a constant in every row that is there.
fn new_column(command: &AlterTableCmd) -> Option<WrittenColumn> {
    if command.subtype() != AlterTableType::AtAddColumn || !is_bare(command) {
        return None;
    }
    let NodeEnum::ColumnDef(definition) = command.def.as_ref()?.node.as_ref()? else { return None };
    let definition: &ColumnDef = definition;
    let found = column(definition)?;
    let is_filled = match defaults(&found.constraints).map(constant).collect::<Option<Vec<_>>>()?.as_slice() {
        [] => false,
        [is_value] => *is_value,
        _ => return None,
    };
    let fits = found.constraints.iter().all(|one| match one.contype() {
        ConstrType::ConstrNull | ConstrType::ConstrDefault => true,
        // Rows of the backup are loaded behind it; what a condition asks of other columns they may not hold.
        ConstrType::ConstrNotnull => is_filled,
        _ => false,
    });
    (fits && !found.has_sequence).then_some(WrittenColumn { name: found.name, is_filled })
}

/// What changes no row, and is run behind all of them.
fn behind(
    command: &AlterTableCmd,
    table: &WrittenName,
    refers_to: &mut Vec<WrittenName>,
    relations: &mut Vec<String>,
) -> Option<()> {
    let fits = is_bare(command) && !command.missing_ok;
    match command.subtype() {
        AlterTableType::AtColumnDefault => {
            // Without one an object of the backup would be missing: the server keeps none for NULL either.
            let value = command.def.as_ref()?;
            (is_plain_default(value) && constant(value) != Some(false)).then_some(())?;
        }
        AlterTableType::AtEnableRowSecurity
        | AlterTableType::AtDisableRowSecurity
        | AlterTableType::AtForceRowSecurity
        | AlterTableType::AtNoForceRowSecurity => command.def.is_none().then_some(())?,
        AlterTableType::AtAddConstraint => {
            let definition = command.def.as_ref()?;
            let NodeEnum::Constraint(found) = definition.node.as_ref()? else { return None };
            match found.contype() {
                ConstrType::ConstrCheck => constraint(definition).map(|_| ())?,
                ConstrType::ConstrForeign => refers_to.push(referred(found)?),
                ConstrType::ConstrUnique => {
                    let (_, keys) = table_key(found)?;
                    relations.extend(index_name(&table.name, found, &keys));
                }
                _ => return None,
            }
        }
        _ => return None,
    }
    (fits && relations.iter().all(|relation| relation.len() <= NAME_BYTES)).then_some(())
}

/// The table that a foreign key refers to.
fn referred(found: &Constraint) -> Option<WrittenName> {
    let names = |keys: &[Node]| column_names(keys).is_some();
    let rest = Constraint {
        deferrable: false,
        initdeferred: false,
        pktable: None,
        fk_attrs: Vec::new(),
        pk_attrs: Vec::new(),
        fk_matchtype: String::new(),
        fk_upd_action: String::new(),
        fk_del_action: String::new(),
        ..found.clone()
    };
    let fits =
        is_plain(&rest) && found.fk_matchtype != "p" && names(&found.fk_attrs) && names(&found.pk_attrs);
    written(found.pktable.as_ref()).filter(|_| fits)
}
