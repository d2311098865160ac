//! What there is to be asked, as a tree of directories and values.

use std::fmt::Display;

use serde_json::{Map, Value};
use updraft_identity::CLOUD_PLATFORM;
use updraft_model::{channel::Workload, instance::InstanceId, name::project_number};

use crate::ask::Form;

/// What is at a path.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    /// Others, by their names, in order.
    Directory(Vec<(String, Node)>),
    /// A text.
    Text(String),
    /// A number.
    Number(u64),
    /// Several texts.
    Lines(Vec<String>),
    /// What is made when it is asked for, and is in no listing of values.
    Made(Made),
}

/// What is made when it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Made {
    /// An access token.
    Token,
    /// An ID token.
    Identity,
}

/// The domain of Google's APIs, which client libraries compare with the one they were set to.
const UNIVERSE: &str = "googleapis.com";

// === impl Node ===

impl Node {
    /// All that an instance may ask.
    pub(crate) fn of(id: &InstanceId, workload: &Workload) -> Self {
        let parent = workload.owner.parent();
        let number = project_number(&parent.project);
        let account = || {
            directory([
                ("aliases", Self::Lines(vec!["default".to_owned()])),
                ("email", Self::Text(workload.account.clone())),
                ("identity", Self::Made(Made::Identity)),
                ("scopes", Self::Lines(vec![CLOUD_PLATFORM.to_owned()])),
                ("token", Self::Made(Made::Token)),
            ])
        };
        let instance = directory([
            ("id", Self::Text(id.0.clone())),
            ("region", Self::Text(format!("projects/{number}/regions/{}", parent.location))),
            ("service-accounts", directory([("default", account()), (&*workload.account, account())])),
            // Regions have one zone here, as Cloud Run shows one of each region.
            ("zone", Self::Text(format!("projects/{number}/zones/{}-1", parent.location))),
        ]);
        let project = directory([
            ("numeric-project-id", Self::Number(number)),
            ("project-id", Self::Text(parent.project.clone())),
        ]);
        let universe = directory([("universe-domain", Self::Text(UNIVERSE.to_owned()))]);
        let version = directory([("instance", instance), ("project", project), ("universe", universe)]);
        directory([("computeMetadata", directory([("v1", version)]))])
    }

    /// What is at this path below, if anything.
    pub(crate) fn at(&self, segments: &[String]) -> Option<&Self> {
        let Some((first, rest)) = segments.split_first() else { return Some(self) };
        let Self::Directory(children) = self else { return None };
        children.iter().find(|(name, _)| name == first)?.1.at(rest)
    }

    /// A directory's entries, or a value.
    pub(crate) fn plain(&self, form: Form) -> String {
        match (self, form) {
            (Self::Directory(children), Form::Text) => lines(children.iter().map(entry)),
            (Self::Directory(children), Form::Json) => Value::from_iter(children.iter().map(entry)).to_string(),
            (Self::Lines(values), Form::Text) => lines(values.iter().cloned()),
            (Self::Number(value), Form::Text) => value.to_string(),
            (Self::Text(value), Form::Text) => value.clone(),
            (value, Form::Json) => value.json().unwrap_or_default().to_string(),
            (Self::Made(_), Form::Text) => String::new(),
        }
    }

    /// Everything below.
    pub(crate) fn whole(&self, form: Form) -> String {
        match form {
            Form::Json => self.json().unwrap_or_default().to_string(),
            Form::Text => {
                let mut text = String::new();
                self.write_paths("", &mut text);
                text
            }
        }
    }

    fn json(&self) -> Option<Value> {
        Some(match self {
            Self::Directory(children) => {
                let values = children.iter().filter_map(|(name, node)| Some((key(name), node.json()?)));
                Value::Object(Map::from_iter(values))
            }
            Self::Text(value) => value.as_str().into(),
            Self::Number(value) => (*value).into(),
            Self::Lines(values) => values.clone().into(),
            Self::Made(_) => return None,
        })
    }

    /// A path and a value on each line.
    fn write_paths(&self, at: &str, text: &mut String) {
        let mut line = |value: &dyn Display| text.push_str(&format!("{at} {value}\n"));
        match self {
            Self::Directory(children) => {
                for (name, node) in children {
                    let slash = if at.is_empty() { "" } else { "/" };
                    node.write_paths(&format!("{at}{slash}{name}"), text);
                }
            }
            Self::Text(value) => line(value),
            Self::Number(value) => line(value),
            Self::Lines(values) => values.iter().for_each(|value| line(value)),
            Self::Made(_) => {}
        }
    }
}

fn directory<'a>(children: impl IntoIterator<Item = (&'a str, Node)>) -> Node {
    Node::Directory(children.into_iter().map(|(name, node)| (name.to_owned(), node)).collect())
}

/// How a directory lists what is in it.
fn entry((name, node): &(String, Node)) -> String {
    let slash = if matches!(node, Node::Directory(_)) { "/" } else { "" };
    format!("{name}{slash}")
}

fn lines(values: impl Iterator<Item = String>) -> String {
    values.map(|value| format!("{value}\n")).collect()
}

/// `service-accounts` is `serviceAccounts` in JSON; an address is itself.
fn key(name: &str) -> String {
    if name.contains('@') {
        return name.to_owned();
    }
    let mut words = name.split('-');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |key, word| {
        let (initial, rest) = word.split_at(word.len().min(1));
        key + &initial.to_ascii_uppercase() + rest
    })
}
