use super::*;

fn rights() -> TargetRights {
    TargetRights {
        provider: Provider::Plain,
        acts_as: BTreeSet::from(["app".to_owned(), "me".to_owned()]),
        may_create_event_triggers: true,
        owns_public: true,
        extensions_of_others: BTreeSet::new(),
        provided_publications: BTreeSet::new(),
    }
}

fn entry(kind: &str, name: &str, owner: &str) -> SchemaEntry {
    SchemaEntry {
        kind: kind.to_owned(),
        name: name.to_owned(),
        owner: (!owner.is_empty()).then(|| owner.to_owned()),
        ..SchemaEntry::default()
    }
}

fn attached(entry: SchemaEntry) -> SchemaEntry {
    SchemaEntry { is_attached: true, ..entry }
}

fn within(schema: &str, entry: SchemaEntry) -> SchemaEntry {
    SchemaEntry { schema: Some(schema.to_owned()), ..entry }
}

#[test]
fn who_may_everything_leaves_out_nothing_of_the_user() {
    for entry in [
        entry("EVENT TRIGGER", "watch", "app"),
        entry("SCHEMA", "public", "app"),
        attached(entry("SCHEMA", "public", "app")),
        attached(entry("EXTENSION", "hstore", "")),
        // A label, for one: no rule leaves labels out as such.
        attached(within("public", entry("TABLE", "guests", "app"))),
        attached(within("public", entry("COLUMN", "guests.name", "app"))),
        attached(entry("EVENT TRIGGER", "watch", "app")),
        entry("DEFAULT ACL", "DEFAULT PRIVILEGES FOR TABLES", "app"),
        within("auth", entry("TABLE", "users", "app")),
        entry("PUBLICATION", "supabase_realtime", "app"),
        entry("EVENT TRIGGER", "keepsake_capture_mine", "app"),
        entry("TABLE", "keepsake_capture", "app"),
    ] {
        assert_eq!(left_out(&entry, &rights()), None, "{entry:?}");
    }
}

#[test]
fn each_rule_fits_what_it_is_for_and_stops_when_its_reason_is_gone() {
    let none = rights();
    let less = |change: fn(&mut TargetRights)| {
        let mut rights = rights();
        change(&mut rights);
        rights
    };
    let supabase = less(|r| r.provider = Provider::Supabase);
    let cases = [
        (
            LeftOutRule::EventTrigger,
            entry("EVENT TRIGGER", "watch", "app"),
            less(|r| r.may_create_event_triggers = false),
        ),
        (LeftOutRule::PublicSchemaOwner, entry("SCHEMA", "public", "app"), less(|r| r.owns_public = false)),
        (
            LeftOutRule::PublicSchemaRights,
            attached(entry("SCHEMA", "public", "app")),
            less(|r| r.owns_public = false),
        ),
        (
            LeftOutRule::ExtensionComment,
            attached(entry("EXTENSION", "hstore", "")),
            less(|r| {
                r.extensions_of_others.insert("hstore".to_owned());
            }),
        ),
        (LeftOutRule::DefaultPrivileges, entry("DEFAULT ACL", "x", "app"), less(|r| r.acts_as.clear())),
        (LeftOutRule::ProviderSchema, entry("SCHEMA", "auth", "app"), supabase.clone()),
        (LeftOutRule::ProviderSchema, within("auth", entry("TABLE", "users", "app")), supabase),
        (
            LeftOutRule::ProviderPublication,
            entry("PUBLICATION", "p", "app"),
            less(|r| {
                r.provided_publications.insert("p".to_owned());
            }),
        ),
    ];
    for (rule, entry, rights) in cases {
        assert_eq!(left_out(&entry, &rights), Some(rule), "{entry:?}");
        assert_eq!(left_out(&entry, &none), None, "{entry:?}");
    }
    for ours in [
        entry("SCHEMA", "keepsake_capture", "app"),
        attached(entry("SCHEMA", "keepsake_capture", "app")),
        within("keepsake_capture", entry("FUNCTION", "noted()", "app")),
        entry("EVENT TRIGGER", "keepsake_capture_ddl", "app"),
        entry("EVENT TRIGGER", "keepsake_capture_drop", "app"),
        entry("EVENT TRIGGER", "keepsake_capture_start", "app"),
    ] {
        assert_eq!(left_out(&ours, &none), Some(LeftOutRule::SchemaWatch), "{ours:?}");
        assert_eq!(LeftOut::of(LeftOutRule::SchemaWatch, &ours).object, "schema keepsake_capture");
    }
    let of_provider = entry("EVENT TRIGGER", "pgrst_ddl_watch", "supabase_admin");
    assert_eq!(left_out(&of_provider, &none), Some(LeftOutRule::ProviderEventTrigger));
}

#[test]
fn a_public_schema_of_an_owner_out_of_reach_stays_the_targets() {
    let of_superuser = entry("SCHEMA", "public", "postgres");
    assert_eq!(left_out(&of_superuser, &rights()), Some(LeftOutRule::PublicSchemaOwner));
}

#[test]
fn owners_out_of_reach_are_named_once() {
    let entries = [
        entry("TABLE", "a", "postgres"),
        entry("TABLE", "b", "postgres"),
        entry("TABLE", "c", "app"),
        attached(entry("TABLE", "c", "other")),
        entry("DEFAULT ACL", "x", "third"),
        entry("EXTENSION", "hstore", ""),
    ];
    assert_eq!(rights().owners_out_of_reach(entries.iter()), ["postgres"]);
}

#[test]
fn what_was_left_out_explains_its_own_absence_and_no_other() {
    let trigger = LeftOut::of(LeftOutRule::EventTrigger, &entry("EVENT TRIGGER", "Watch", "app"));
    assert!(trigger.explains("event trigger \"Watch\"") && !trigger.explains("event trigger other"));
    let schema = LeftOut::of(LeftOutRule::ProviderSchema, &entry("SCHEMA", "auth", "app"));
    assert!(schema.explains("schema auth") && schema.explains("policy own on auth.users"));
    assert!(!schema.explains("table public.auth") && !schema.explains("schema authors"));
    let key = LeftOut { rule: LeftOutRule::ForeignKey, object: "foreign key k on public.a".to_owned() };
    assert!(
        key.explains("table constraint k on public.a") && !key.explains("table constraint k on public.b")
    );
    let comment = LeftOut::of(LeftOutRule::ExtensionComment, &attached(entry("EXTENSION", "hstore", "")));
    assert!(!comment.explains("extension hstore"));
}

#[test]
fn every_rule_has_its_own_name_and_says_why_and_what_to_do() {
    for rule in LeftOutRule::ALL {
        assert_eq!(LeftOutRule::of_name(rule.name()), Some(rule));
        assert_eq!(serde_json::to_value(rule).expect("plain data"), rule.name());
        assert!(!rule.reason().is_empty() && !rule.advice().is_empty());
    }
}
