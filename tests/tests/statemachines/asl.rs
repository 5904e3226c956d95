//! State machine definitions as graphs.

use super::template;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// One definition.
pub struct Machine {
    pub name: String,
    pub value: Value,
}

/// One state.
pub struct State<'a> {
    pub name: &'a str,
    pub value: &'a Value,
}

/// The states of a machine, a branch or an item processor.
pub struct Scope<'a> {
    value: &'a Value,
    /// Whether the outer variables can be seen: not from a Distributed Map, whose children are executions.
    sees_outer: bool,
    /// The state that holds it, for an inner one.
    holder: Option<&'a str>,
}

/// All definitions in `statemachines`.
pub fn all() -> Vec<Machine> {
    let mut machines = Vec::new();
    for entry in std::fs::read_dir(template::root().join("statemachines")).unwrap() {
        let path = entry.unwrap().path();
        if let Some(name) = path.file_name().unwrap().to_str().unwrap().strip_suffix(".asl.json") {
            let value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
            machines.push(Machine { name: name.to_owned(), value });
        }
    }
    assert!(machines.len() >= 2, "state machines are missing");
    machines
}

impl Machine {
    /// Its scopes, the outermost first.
    pub fn scopes(&self) -> Vec<Scope<'_>> {
        let mut scopes = vec![Scope { value: &self.value, sees_outer: false, holder: None }];
        for (name, state) in self.value["States"].as_object().unwrap() {
            scopes.extend(inner(name, state, name));
        }
        scopes
    }

    pub fn states(&self) -> Vec<State<'_>> {
        let scopes = self.scopes();
        scopes
            .iter()
            .flat_map(|scope| scope.value["States"].as_object().unwrap())
            .map(|(name, value)| State { name, value })
            .collect()
    }

    /// Names in `${…}`.
    pub fn substitutions(&self) -> BTreeSet<String> {
        let text = self.value.to_string();
        text.split("${").skip(1).map(|rest| rest.split('}').next().unwrap().to_owned()).collect()
    }

    /// Logical ids of the functions that it calls.
    pub fn functions(&self) -> Vec<String> {
        self.states().iter().filter_map(State::function).collect()
    }

    /// Functions called in JSONata expressions.
    pub fn jsonata_functions(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for text in expressions(&self.value) {
            found.extend(names(&text).into_iter().filter(|(_, called)| *called).map(|(name, _)| name));
        }
        found
    }

    /// Every `$name` was assigned by all states that can come before, on whatever way.
    pub fn assert_variables_are_assigned(&self) {
        let outer = &self.scopes()[0];
        let known_outer = outer.known_at_entry(&BTreeSet::new());
        for scope in self.scopes() {
            let seen = match scope.holder {
                Some(holder) if scope.sees_outer => known_outer[holder].clone(),
                _ => BTreeSet::new(),
            };
            let known = scope.known_at_entry(&seen);
            for (name, state) in scope.value["States"].as_object().unwrap() {
                let used = used_variables(&without_inner(state));
                let missing: Vec<_> = used.difference(&known[name.as_str()]).collect();
                assert!(missing.is_empty(), "{}: {name} uses {missing:?} before it is assigned", self.name);
            }
        }
    }
}

fn inner<'a>(_name: &str, state: &'a Value, holder: &'a str) -> Vec<Scope<'a>> {
    let branches = state["Branches"].as_array().into_iter().flatten().map(|branch| (branch, true));
    let distributed = state["ItemProcessor"]["ProcessorConfig"]["Mode"] == "DISTRIBUTED";
    let processor = state.get("ItemProcessor").map(|processor| (processor, !distributed));
    let mut scopes = Vec::new();
    for (value, sees_outer) in branches.chain(processor) {
        scopes.push(Scope { value, sees_outer, holder: Some(holder) });
        for (name, state) in value["States"].as_object().unwrap() {
            // Deeper levels are Distributed Maps in our machines, which see nothing of what is around them.
            scopes.extend(inner(name, state, holder));
        }
    }
    scopes
}

impl State<'_> {
    pub fn kind(&self) -> &str {
        self.value["Type"].as_str().unwrap()
    }

    /// Logical id of the function that it calls, if it does.
    pub fn function(&self) -> Option<String> {
        let arn = self.value["Arguments"]["FunctionName"].as_str()?;
        Some(arn.strip_prefix("${")?.strip_suffix("Arn}")?.to_owned())
    }
}

impl Scope<'_> {
    pub fn start(&self) -> &str {
        self.value["StartAt"].as_str().unwrap()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.value["States"].as_object().unwrap().keys().map(String::as_str)
    }

    /// Successors of a state, each with what is assigned on the way.
    fn ways(&self, name: &str) -> Vec<(&str, BTreeSet<String>)> {
        let state = &self.value["States"][name];
        let mut ways = Vec::new();
        let add = |holder: &serde_json::Map<String, Value>, next: Option<&Value>, ways: &mut Vec<_>| {
            let keys =
                holder.get("Assign").and_then(Value::as_object).into_iter().flat_map(|assign| assign.keys());
            let assigned: BTreeSet<String> = keys.cloned().collect();
            if let Some(next) = next.and_then(Value::as_str) {
                let key = self.value["States"].as_object().unwrap().get_key_value(next);
                ways.push((
                    key.map(|(key, _)| key.as_str())
                        .unwrap_or_else(|| unreachable!("{name}: no state {next}")),
                    assigned,
                ));
            }
        };
        let own = state.as_object().unwrap();
        add(own, state.get("Next"), &mut ways);
        add(own, state.get("Default"), &mut ways);
        for part in ["Choices", "Catch"] {
            for way in state[part].as_array().into_iter().flatten() {
                add(way.as_object().unwrap(), way.get("Next"), &mut ways);
            }
        }
        ways
    }

    pub fn reachable_from(&self, start: &str) -> BTreeSet<&str> {
        self.reach(start, "")
    }

    fn reach(&self, start: &str, avoiding: &str) -> BTreeSet<&str> {
        let mut reached = BTreeSet::new();
        let mut open: Vec<&str> = self.names().filter(|name| *name == start).collect();
        while let Some(name) = open.pop() {
            if name != avoiding && reached.insert(name) {
                open.extend(self.ways(name).into_iter().map(|(next, _)| next));
            }
        }
        reached
    }

    /// Ends that can be reached from a state without passing another one.
    pub fn ends_reachable_without(&self, start: &str, avoided: &str) -> BTreeSet<&str> {
        assert!(self.names().any(|name| name == avoided), "no state {avoided}");
        let is_end = |name: &&str| {
            self.value["States"][*name]["End"] == true || self.value["States"][*name]["Type"] == "Fail"
        };
        self.reach(start, avoided).into_iter().filter(is_end).collect()
    }

    pub fn assigned(&self) -> BTreeSet<String> {
        self.names().flat_map(|name| self.ways(name)).flat_map(|(_, assigned)| assigned).collect()
    }

    /// Variables that hold when a state is entered, whatever way led there.
    fn known_at_entry(&self, outer: &BTreeSet<String>) -> BTreeMap<&str, BTreeSet<String>> {
        let mut known: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        let start = self.names().find(|name| *name == self.start()).unwrap();
        let mut open = vec![(start, outer.clone())];
        while let Some((name, holds)) = open.pop() {
            let meets = match known.get(name) {
                Some(before) => before.intersection(&holds).cloned().collect(),
                None => holds,
            };
            if known.get(name) == Some(&meets) {
                continue;
            }
            for (next, assigned) in self.ways(name) {
                open.push((next, meets.union(&assigned).cloned().collect()));
            }
            known.insert(name, meets);
        }
        known
    }
}

/// A state without the scopes inside it.
fn without_inner(state: &Value) -> Value {
    let mut state = state.clone();
    let fields = state.as_object_mut().unwrap();
    fields.remove("Branches");
    fields.remove("ItemProcessor");
    state
}

fn expressions(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) if text.starts_with("{%") => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(expressions).collect(),
        Value::Object(fields) => fields.values().flat_map(expressions).collect(),
        _ => Vec::new(),
    }
}

/// Each `$name` outside of quotes, and whether it is called.
fn names(expression: &str) -> Vec<(String, bool)> {
    let bare: String = expression.split('\'').step_by(2).collect::<Vec<_>>().join("''");
    let mut found = Vec::new();
    for rest in bare.split('$').skip(1) {
        let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let called = rest[name.len()..].trim_start().starts_with('(');
        found.push((name, called));
    }
    found
}

fn used_variables(state: &Value) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for text in expressions(state) {
        let defined: BTreeSet<String> = names(&text)
            .into_iter()
            .map(|(name, _)| name)
            .filter(|name| text.contains(&format!("${name} :=")))
            .collect();
        let names = names(&text)
            .into_iter()
            .filter(|(name, called)| !called && name != "states" && !defined.contains(name));
        used.extend(names.map(|(name, _)| name));
    }
    used
}
