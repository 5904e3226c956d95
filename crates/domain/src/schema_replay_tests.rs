use super::*;
use crate::no_plain_statement;

fn message(before: &str, after: &str) -> DdlMessage {
    DdlMessage { before: Some(before.into()), after: Some(after.into()), ..DdlMessage::default() }
}

#[test]
fn statements_that_follow_each_other_from_one_schema_to_the_other_are_all() {
    assert!(is_all_told("a", "a", &[]));
    assert!(is_all_told("a", "c", &[message("a", "b"), message("b", "c")]));
    let idle = [message("a", "b"), message("b", "b"), message("b", "c")];
    assert!(is_all_told("a", "c", &idle), "CREATE TABLE IF NOT EXISTS of one that is there");
}

#[test]
fn whatever_changed_the_schema_beside_them_shows() {
    let untold = DdlMessage::default();
    for (what, messages) in [
        ("nothing was told", vec![]),
        ("before the first", vec![message("x", "c")]),
        ("between two", vec![message("a", "b"), message("x", "c")]),
        ("behind the last", vec![message("a", "b")]),
        ("two at the same time", vec![message("a", "x"), message("a", "c")]),
        ("one that nobody looked at", vec![message("a", "b"), untold, message("b", "c")]),
        ("one within another", vec![message("b", "c"), message("a", "c")]),
        (
            "somebody's own messages, there and back",
            vec![message("a", "x"), message("x", "a"), message("a", "c")],
        ),
    ] {
        assert!(!is_all_told("a", "c", &messages), "{what}");
    }
    assert!(!is_all_told("a", "a", &[message("a", "b"), message("b", "a")]));
}

fn name(text: &str) -> WrittenName {
    WrittenName { schema: None, name: text.to_owned() }
}

fn new_table(_: &str) -> Option<PlainStatement> {
    let relations = ["t_pkey", "t_id_seq"].map(str::to_owned).to_vec();
    Some(PlainStatement::NewTable { name: name("t"), columns: vec!["id".to_owned()], relations })
}

fn new_columns(_: &str) -> Option<PlainStatement> {
    let name = WrittenName { schema: Some("s x".to_owned()), name: "t \"y.".to_owned() };
    let column = |name: &str, is_filled| WrittenColumn { name: name.to_owned(), is_filled };
    Some(PlainStatement::NewColumns { name, columns: vec![column("a", false), column("b", true)] })
}

fn told(command: &str, objects: &[&str]) -> DdlMessage {
    DdlMessage {
        command: command.to_owned(),
        objects: objects.iter().map(|object| (*object).to_owned()).collect(),
        objects_total: objects.len(),
        statement: Some("whatever".to_owned()),
        search_path: "\"$user\", public".to_owned(),
        role: "app".to_owned(),
        ..DdlMessage::default()
    }
}

#[test]
fn what_the_parser_read_and_what_the_server_says_come_to_what_happens_to_rows() {
    let made = told("CREATE TABLE", &["sequence public.t_id_seq", "table public.t", "index public.t_pkey"]);
    let table = TableName { schema: "public".into(), name: "t".into() };
    let made = made.statement(new_table).expect("it is plain");
    assert_eq!(made.effect, SchemaEffect::NewTable { table, columns: vec!["id".into()] });
    assert!(made.makes(&SequenceName { schema: "public".into(), name: "t_id_seq".into() }));
    assert!(!made.makes(&SequenceName { schema: "public".into(), name: "t".into() }));
    let filled = |told: &[(&str, &str)]| {
        Some(told.iter().map(|(column, value)| ((*column).to_owned(), (*value).to_owned())).collect())
    };
    let widened = |told_of| DdlMessage {
        filled: filled(told_of),
        ..told("ALTER TABLE", &["table \"s x\".\"t \"\"y.\""])
    };
    let table = TableName { schema: "s x".into(), name: "t \"y.".into() };
    let column =
        |name: &str, value: Option<&str>| NewColumn { name: name.into(), value: value.map(Into::into) };
    let columns = vec![column("a", None), column("b", Some("7"))];
    let effect = SchemaEffect::NewColumns { table, columns };
    let found = widened(&[("b", "7"), ("older", "x")]).statement(new_columns);
    assert_eq!(found.map(|one| one.effect), Ok(effect));
    for (what, told_of) in [("no value", [].as_slice()), ("one too many", &[("a", "1"), ("b", "7")])] {
        assert_eq!(widened(told_of).statement(new_columns), Err(NotPlain::Other), "{what}");
    }
    let comment = told("COMMENT", &["table column public.t.a"]);
    let comment = comment.statement(|_| Some(PlainStatement::Comment)).expect("it is plain");
    assert_eq!((comment.effect.clone(), comment.relations().count()), (SchemaEffect::Nothing, 0));
}

#[test]
fn a_statement_that_is_not_known_for_certain_is_not_run_again() {
    let table = || told("CREATE TABLE", &["table public.t", "index public.t_pkey"]);
    assert!(table().statement(new_table).is_ok());
    assert_eq!(table().statement(no_plain_statement), Err(NotPlain::Other));
    type Change = fn(&mut DdlMessage);
    let changes: [(&str, Change); 10] = [
        ("objects that are not named", |told| told.objects_total = 51),
        ("a text that is not told", |told| told.statement = None),
        ("a text that is cut", |told| told.statement = Some("x".repeat(65_536))),
        ("a backslash", |told| told.statement = Some("CREATE TABLE t (a text DEFAULT '\\')".into())),
        ("parents", |told| told.inherits = true),
        ("its own meaning of names", |told| told.search_path = "mine, PG_CATALOG".into()),
        ("another command", |told| told.command = "CREATE TABLE AS".into()),
        ("another table", |told| told.objects[0] = "table public.u".into()),
        ("two tables", |told| told.objects[1] = "table public.t2".into()),
        ("an index that had to be named otherwise", |told| told.objects[1] = "index public.t_pkey1".into()),
    ];
    for (what, change) in changes {
        let mut told = table();
        change(&mut told);
        assert!(told.statement(new_table).is_err(), "{what}");
    }
}

fn effect(effect: SchemaEffect) -> SchemaStatement {
    let told = told("ALTER TABLE", &["table public.t"]);
    let DdlMessage { command, objects, role, search_path, .. } = told;
    SchemaStatement { command, objects, role, search_path, statement: "one".into(), effect }
}

#[test]
fn a_column_that_may_hold_null_again_is_not_asked_for_values_by_an_earlier_statement() {
    let table = TableName { schema: "public".into(), name: "t".into() };
    let required =
        |column: &str| effect(SchemaEffect::Required { table: table.clone(), column: column.into() });
    let nullable =
        |column: &str| effect(SchemaEffect::Nullable { table: table.clone(), column: column.into() });
    let statements = vec![required("a"), nullable("a"), required("b"), nullable("c"), required("c")];
    let kept = [(2, nullable("a")), (3, required("b")), (4, nullable("c")), (5, required("c"))];
    assert_eq!(without_undone(&statements), kept.each_ref().map(|(number, one)| (*number, one)));
}

#[test]
fn rows_that_a_statement_has_to_know_are_those_of_each_table_that_it_may_name() {
    let table = |schema: &str, name: &str| TableName { schema: schema.into(), name: name.into() };
    let written =
        |schema: Option<&str>, name: &str| WrittenName { schema: schema.map(Into::into), name: name.into() };
    let tables = vec![written(Some("s"), "t"), written(None, "u")];
    let effect = SchemaEffect::Constrained { tables };
    for (other, needs) in
        [(table("s", "t"), true), (table("r", "t"), false), (table("r", "u"), true), (table("s", "v"), false)]
    {
        assert_eq!(effect.needs_rows_of(&other), needs, "{other}");
    }
    assert!(!SchemaEffect::Nothing.needs_rows_of(&table("s", "t")));
}
