//! The schema as data, and how it is written down.
//!
//! The text is the contract with `updraft_api::descriptors`, which parses it: one declaration per line
//! without indentation, its members indented; a type of the same package by its short name.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

/// Packages by name.
#[derive(Debug, Default)]
pub(super) struct Schema {
    pub(super) packages: BTreeMap<String, Declarations>,
}

/// What one package declares, by name within the package (`Outer.Inner`).
#[derive(Debug, Default)]
pub(super) struct Declarations {
    pub(super) messages: BTreeMap<String, Vec<Field>>,
    pub(super) enums: BTreeMap<String, Vec<(i32, String)>>,
    pub(super) services: BTreeMap<String, Vec<Method>>,
}

/// A field of a message.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) number: u32,
    pub(super) name: String,
    pub(super) kind: Type,
    pub(super) repeated: bool,
    pub(super) optional: bool,
    pub(super) oneof: Option<String>,
}

/// The type of a field.
#[derive(Debug)]
pub(super) enum Type {
    /// A scalar, by its protobuf name.
    Scalar(&'static str),
    /// A message or an enum, by its full name.
    Named(String),
    /// A map from a scalar.
    Map(&'static str, Box<Type>),
}

/// A method of a service; all are unary.
#[derive(Debug)]
pub(super) struct Method {
    pub(super) name: String,
    pub(super) request: String,
    pub(super) response: String,
}

// === impl Schema ===

impl Schema {
    /// Keeps the packages in `whole`, and of the others what those refer to.
    pub(super) fn keep_reachable(&mut self, whole: &[&str]) {
        let mut reached = BTreeSet::new();
        let mut open: Vec<String> = self.names().filter(|(package, _)| whole.contains(package)).map(full).collect();
        while let Some(name) = open.pop() {
            if reached.insert(name.clone()) {
                open.extend(self.references(&name));
            }
        }
        for (package, declared) in &mut self.packages {
            declared.messages.retain(|name, _| reached.contains(&full((package, name))));
            declared.enums.retain(|name, _| reached.contains(&full((package, name))));
            if !whole.contains(&package.as_str()) {
                declared.services.clear();
            }
        }
    }

    fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.packages.iter().flat_map(|(package, declared)| {
            let names = declared.messages.keys().chain(declared.enums.keys());
            names.map(move |name| (package.as_str(), name.as_str()))
        })
    }

    /// What the message `name` refers to, by full name.
    fn references(&self, name: &str) -> Vec<String> {
        let fields = self.packages.iter().find_map(|(package, declared)| {
            declared.messages.get(name.strip_prefix(package.as_str())?.strip_prefix('.')?)
        });
        fields.into_iter().flatten().filter_map(|field| field.kind.named()).collect()
    }
}

// === impl Type ===

impl Type {
    fn named(&self) -> Option<String> {
        match self {
            Self::Scalar(_) => None,
            Self::Named(name) => Some(name.clone()),
            Self::Map(_, value) => value.named(),
        }
    }

    fn print(&self, package: &str) -> String {
        match self {
            Self::Scalar(name) => (*name).to_owned(),
            Self::Named(name) => short(package, name),
            Self::Map(key, value) => format!("map<{key},{}>", value.print(package)),
        }
    }
}

/// The table as text.
pub(super) fn print(schema: &Schema) -> String {
    let mut text = String::from("# Names and numbers of the API. Derived by `cargo xtask api`; not edited by hand.\n");
    for (package, declared) in &schema.packages {
        let _ = write!(text, "\npackage {package}\n");
        for (name, fields) in &declared.messages {
            let _ = writeln!(text, "message {name}");
            for field in fields {
                let _ = writeln!(text, "  {}", line(package, field));
            }
        }
        for (name, values) in &declared.enums {
            let _ = writeln!(text, "enum {name}");
            for (number, value) in values {
                let _ = writeln!(text, "  {number} {value}");
            }
        }
        for (name, methods) in &declared.services {
            let _ = writeln!(text, "service {name}");
            for Method { name, request, response } in methods {
                let _ = writeln!(text, "  {name} {} {}", short(package, request), short(package, response));
            }
        }
    }
    text
}

fn line(package: &str, field: &Field) -> String {
    let mut line = format!("{} {} {}", field.number, field.name, field.kind.print(package));
    if field.repeated {
        line.push_str(" repeated");
    }
    if field.optional {
        line.push_str(" optional");
    }
    if let Some(oneof) = &field.oneof {
        let _ = write!(line, " oneof={oneof}");
    }
    line
}

fn short(package: &str, name: &str) -> String {
    name.strip_prefix(package).and_then(|rest| rest.strip_prefix('.')).unwrap_or(name).to_owned()
}

fn full((package, name): (impl AsRef<str>, impl AsRef<str>)) -> String {
    format!("{}.{}", package.as_ref(), name.as_ref())
}
