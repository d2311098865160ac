//! The descriptors, read out of the committed table at first use.
//!
//! The table (`descriptors.txt`, derived by `cargo xtask api`) holds names and numbers; here it becomes
//! what protobuf libraries work with. Its grammar, line by line: `package P`, `message N`, `enum N`,
//! `service N`; indented below them `NUMBER NAME TYPE [repeated] [optional] [oneof=O]`, `NUMBER NAME` and
//! `NAME REQUEST RESPONSE`. `own.txt` adds fields of ours, below `extend N`. A type without a dot in front of a capital is one of the same package.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use prost_reflect::{DescriptorPool, MessageDescriptor};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet, MessageOptions, MethodDescriptorProto, OneofDescriptorProto, ServiceDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

/// The committed table.
const TABLE: &str = include_str!("../descriptors.txt");
/// What is ours in messages of Google's; goes behind the table.
const OWN: &str = include_str!("../own.txt");
/// The packages that a table may refer to without declaring them.
const PROTOBUF: &str = "google.protobuf";

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let mut pool = DescriptorPool::global();
    let set = parse(&format!("{TABLE}\n{OWN}")).expect("the committed table parses: a test reads all of it");
    pool.add_file_descriptor_set(set).expect("the committed table is consistent: a test links all of it");
    pool
});

/// Every message, enum and service of the API, and protobuf's own.
pub fn pool() -> &'static DescriptorPool {
    &POOL
}

/// The descriptor of the message with this full name.
///
/// # Panics
/// When the table has no such message: names come from code, never from input.
pub fn message(name: &str) -> MessageDescriptor {
    POOL.get_message_by_name(name).unwrap_or_else(|| panic!("descriptors.txt has no message {name}"))
}

/// Every file, protobuf's own included, with only those services that `served` names, for gRPC
/// reflection: what is not served must not be announced.
pub fn reflection_set(served: &[&str]) -> FileDescriptorSet {
    let mut set = FileDescriptorSet { file: POOL.file_descriptor_protos().cloned().collect() };
    for file in &mut set.file {
        let package = file.package().to_owned();
        file.service.retain(|service| served.contains(&format!("{package}.{}", service.name()).as_str()));
    }
    set
}

/// What is wrong with a line of a table.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {cause}")]
struct ParseError {
    line: usize,
    cause: &'static str,
}

/// Builds files out of lines.
#[derive(Default)]
struct Builder {
    files: Vec<FileDescriptorProto>,
    /// What the indented lines belong to.
    open: Option<Open>,
    enums: BTreeSet<String>,
}

/// A declaration whose members follow.
enum Open {
    Message(String, DescriptorProto),
    Enum(String, EnumDescriptorProto),
    Service(ServiceDescriptorProto),
}

fn parse(table: &str) -> Result<FileDescriptorSet, ParseError> {
    let mut builder = Builder { enums: enum_names(table), ..Builder::default() };
    for (index, line) in table.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        builder.line(line).map_err(|cause| ParseError { line: index + 1, cause })?;
    }
    builder.close().map_err(|cause| ParseError { line: table.lines().count(), cause })?;
    let mut files = builder.files;
    for file in &mut files {
        file.dependency = dependencies(file);
    }
    Ok(FileDescriptorSet { file: files })
}

/// The full names of the table's enums: a reference does not say whether it means a message.
fn enum_names(table: &str) -> BTreeSet<String> {
    let mut package = "";
    let mut names = BTreeSet::new();
    for line in table.lines() {
        if let Some(name) = line.strip_prefix("package ") {
            package = name;
        } else if let Some(name) = line.strip_prefix("enum ") {
            names.insert(format!("{package}.{name}"));
        }
    }
    names
}

// === impl Builder ===

impl Builder {
    fn line(&mut self, line: &str) -> Result<(), &'static str> {
        if let Some(member) = line.strip_prefix("  ") {
            return self.member(&member.split(' ').collect::<Vec<_>>());
        }
        self.close()?;
        let (word, name) = line.split_once(' ').ok_or("a declaration without a name")?;
        let short = name.rsplit('.').next().unwrap_or(name).to_owned();
        match word {
            "package" => self.package_begins(name),
            "extend" => {
                let file = self.files.last_mut().ok_or("a declaration outside a package")?;
                self.open = Some(Open::Message(name.to_owned(), taken(file, name)?));
            }
            "message" => {
                let message = DescriptorProto { name: Some(short), ..DescriptorProto::default() };
                self.open = Some(Open::Message(name.to_owned(), message));
            }
            "enum" => {
                let value = EnumDescriptorProto { name: Some(short), ..EnumDescriptorProto::default() };
                self.open = Some(Open::Enum(name.to_owned(), value));
            }
            "service" => {
                let service = ServiceDescriptorProto { name: Some(short), ..ServiceDescriptorProto::default() };
                self.open = Some(Open::Service(service));
            }
            _ => return Err("an unknown declaration"),
        }
        Ok(())
    }

    /// What follows belongs to this package, which may have been begun before.
    fn package_begins(&mut self, name: &str) {
        let begun = self.files.iter().position(|file| file.package() == name);
        let file = begun.map(|at| self.files.remove(at)).unwrap_or_else(|| FileDescriptorProto {
            name: Some(file_name(name)),
            package: Some(name.to_owned()),
            syntax: Some("proto3".to_owned()),
            ..FileDescriptorProto::default()
        });
        self.files.push(file);
    }

    fn member(&mut self, words: &[&str]) -> Result<(), &'static str> {
        let package = self.package()?;
        match (self.open.as_mut().ok_or("a member of nothing")?, words) {
            (Open::Message(name, message), [number, field, kind, flags @ ..]) => {
                let scope = format!("{package}.{name}");
                let reader = FieldReader { package: &package, scope: &scope, enums: &self.enums };
                reader.add(message, (number, field, kind), flags)
            }
            (Open::Enum(_, declared), [number, value]) => {
                declared.value.push(EnumValueDescriptorProto {
                    name: Some((*value).to_owned()),
                    number: Some(number.parse().map_err(|_| "a value without a number")?),
                    options: None,
                });
                Ok(())
            }
            (Open::Service(service), [method, request, response]) => {
                service.method.push(MethodDescriptorProto {
                    name: Some((*method).to_owned()),
                    input_type: Some(absolute(&package, request)),
                    output_type: Some(absolute(&package, response)),
                    ..MethodDescriptorProto::default()
                });
                Ok(())
            }
            _ => Err("a member of the wrong form"),
        }
    }

    /// Ends the open declaration and puts it where it belongs.
    fn close(&mut self) -> Result<(), &'static str> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let file = self.files.last_mut().ok_or("a declaration outside a package")?;
        match open {
            Open::Service(service) => file.service.push(service),
            Open::Message(name, message) => match outer(file, &name)? {
                Some(outer) => outer.nested_type.push(message),
                None => file.message_type.push(message),
            },
            Open::Enum(name, declared) => match outer(file, &name)? {
                Some(outer) => outer.enum_type.push(declared),
                None => file.enum_type.push(declared),
            },
        }
        Ok(())
    }

    fn package(&self) -> Result<String, &'static str> {
        Ok(self.files.last().ok_or("a member outside a package")?.package().to_owned())
    }
}

/// The message around `Outer.Inner`. The table is sorted, so an outer message comes before its inner ones.
fn outer<'a>(file: &'a mut FileDescriptorProto, name: &str) -> Result<Option<&'a mut DescriptorProto>, &'static str> {
    let mut path: Vec<&str> = name.split('.').collect();
    path.pop();
    let mut path = path.into_iter();
    let Some(first) = path.next() else { return Ok(None) };
    let find = |messages: &'a mut Vec<DescriptorProto>, name: &str| {
        messages.iter_mut().find(|message| message.name() == name).ok_or("a type inside an unknown message")
    };
    let mut found = find(&mut file.message_type, first)?;
    for name in path {
        found = find(&mut found.nested_type, name)?;
    }
    Ok(Some(found))
}

/// The message `name`, which is taken out to be put back with more fields.
fn taken(file: &mut FileDescriptorProto, name: &str) -> Result<DescriptorProto, &'static str> {
    let messages = match outer(file, name)? {
        Some(outer) => &mut outer.nested_type,
        None => &mut file.message_type,
    };
    let short = name.rsplit('.').next().unwrap_or(name);
    let at = messages.iter().position(|message| message.name() == short).ok_or("more fields of nothing")?;
    Ok(messages.remove(at))
}

/// Reads the fields of one message.
struct FieldReader<'a> {
    package: &'a str,
    /// The message's full name.
    scope: &'a str,
    enums: &'a BTreeSet<String>,
}

impl FieldReader<'_> {
    fn add(
        &self,
        message: &mut DescriptorProto,
        (number, name, kind): (&str, &str, &str),
        flags: &[&str],
    ) -> Result<(), &'static str> {
        let mut field = match kind.strip_prefix("map<").and_then(|types| types.strip_suffix('>')) {
            Some(types) => self.map(message, name, types)?,
            None => self.plain(kind),
        };
        field.name = Some(name.to_owned());
        field.number = Some(number.parse().map_err(|_| "a field without a number")?);
        for flag in flags {
            match (*flag, flag.strip_prefix("oneof=")) {
                ("repeated", _) => field.set_label(Label::Repeated),
                ("optional", _) => {
                    field.proto3_optional = Some(true);
                    field.oneof_index = Some(oneof(message, &format!("_{name}"))?);
                }
                (_, Some(group)) => field.oneof_index = Some(oneof(message, group)?),
                _ => return Err("an unknown word about a field"),
            }
        }
        message.field.push(field);
        Ok(())
    }

    fn plain(&self, kind: &str) -> FieldDescriptorProto {
        let mut field = FieldDescriptorProto::default();
        field.set_label(Label::Optional);
        match scalar(kind) {
            Some(scalar) => field.set_type(scalar),
            None => {
                let name = absolute(self.package, kind);
                let is_enum = self.enums.contains(name.trim_start_matches('.'));
                field.set_type(if is_enum { Type::Enum } else { Type::Message });
                field.type_name = Some(name);
            }
        }
        field
    }

    /// A map is a list of messages with a key and a value.
    fn map(
        &self,
        message: &mut DescriptorProto,
        name: &str,
        types: &str,
    ) -> Result<FieldDescriptorProto, &'static str> {
        let (key, value) = types.split_once(',').ok_or("a map without a value")?;
        let member = |name: &str, number, kind| FieldDescriptorProto {
            name: Some(name.to_owned()),
            number: Some(number),
            ..self.plain(kind)
        };
        let entry = format!("{}Entry", camel(name));
        message.nested_type.push(DescriptorProto {
            name: Some(entry.clone()),
            field: vec![member("key", 1, key), member("value", 2, value)],
            options: Some(MessageOptions { map_entry: Some(true), ..MessageOptions::default() }),
            ..DescriptorProto::default()
        });
        let mut field =
            FieldDescriptorProto { type_name: Some(format!(".{}.{entry}", self.scope)), ..Default::default() };
        field.set_type(Type::Message);
        field.set_label(Label::Repeated);
        Ok(field)
    }
}

/// The index of the oneof `name`, which is added when it is new.
fn oneof(message: &mut DescriptorProto, name: &str) -> Result<i32, &'static str> {
    let known = message.oneof_decl.iter().position(|declared| declared.name() == name);
    let index = known.unwrap_or_else(|| {
        message.oneof_decl.push(OneofDescriptorProto { name: Some(name.to_owned()), options: None });
        message.oneof_decl.len() - 1
    });
    i32::try_from(index).map_err(|_| "too many oneofs")
}

/// The files that hold what `file` refers to.
fn dependencies(file: &FileDescriptorProto) -> Vec<String> {
    let mut found = BTreeMap::new();
    let fields = file.message_type.iter().flat_map(all_fields);
    let methods = file.service.iter().flat_map(|service| &service.method);
    let types = methods.flat_map(|method| [method.input_type(), method.output_type()]);
    for name in fields.map(FieldDescriptorProto::type_name).chain(types).filter(|name| !name.is_empty()) {
        if let Some(needed) = file_of(name).filter(|needed| needed != file.name()) {
            found.insert(needed, ());
        }
    }
    found.into_keys().collect()
}

fn all_fields(message: &DescriptorProto) -> Box<dyn Iterator<Item = &FieldDescriptorProto> + '_> {
    Box::new(message.field.iter().chain(message.nested_type.iter().flat_map(all_fields)))
}

/// The file that declares the type `.package.Type.Inner`.
fn file_of(name: &str) -> Option<String> {
    let parts = name.trim_start_matches('.').split('.');
    let package: Vec<&str> = parts.take_while(|part| !part.starts_with(|c: char| c.is_uppercase())).collect();
    let package = package.join(".");
    if package != PROTOBUF {
        return Some(file_name(&package));
    }
    let known = DescriptorPool::global().get_message_by_name(name.trim_start_matches('.'))?;
    Some(known.parent_file().name().to_owned())
}

fn file_name(package: &str) -> String {
    format!("{}/all.proto", package.replace('.', "/"))
}

fn absolute(package: &str, name: &str) -> String {
    if name.starts_with(|c: char| c.is_uppercase()) { format!(".{package}.{name}") } else { format!(".{name}") }
}

fn camel(name: &str) -> String {
    let capital = |part: &str| {
        let mut letters = part.chars();
        letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>()).unwrap_or_default()
    };
    name.split('_').map(capital).collect()
}

fn scalar(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "bytes" => Type::Bytes,
        "double" => Type::Double,
        "fixed32" => Type::Fixed32,
        "fixed64" => Type::Fixed64,
        "float" => Type::Float,
        "int32" => Type::Int32,
        "int64" => Type::Int64,
        "sfixed32" => Type::Sfixed32,
        "sfixed64" => Type::Sfixed64,
        "sint32" => Type::Sint32,
        "sint64" => Type::Sint64,
        "string" => Type::String,
        "uint32" => Type::Uint32,
        "uint64" => Type::Uint64,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table_links() {
        let names: Vec<String> = pool().services().map(|service| service.full_name().to_owned()).collect();
        for service in
            ["google.cloud.run.v2.Services", "google.longrunning.Operations", "google.cloud.location.Locations"]
        {
            assert!(names.iter().any(|name| name == service), "{service} in {names:?}");
        }
        assert!(pool().get_message_by_name("google.cloud.run.v2.HTTPGetAction").is_some());
    }

    #[test]
    fn reflection_announces_only_what_is_served() {
        let set = reflection_set(&["google.cloud.run.v2.Services"]);
        let services: Vec<&str> = set.file.iter().flat_map(|f| &f.service).map(ServiceDescriptorProto::name).collect();
        assert_eq!(services, ["Services"]);
    }

    #[test]
    fn a_message_may_have_fields_of_ours() {
        let set = parse("package p\nmessage M\n  1 a string\npackage q\nmessage N\npackage p\nextend M\n  9 b int32\n");
        let set = set.expect("it is a table");
        let file = set.file.iter().find(|file| file.package() == "p").expect("it is begun once and gone on with");
        let fields: Vec<&str> = file.message_type[0].field.iter().map(FieldDescriptorProto::name).collect();
        assert_eq!((set.file.len(), fields), (2, vec!["a", "b"]));
    }

    #[test]
    fn a_line_that_is_not_understood_is_named() {
        let error = parse("package p\nmessage M\n  1 a string shiny\n").expect_err("refused");
        assert_eq!(error.to_string(), "line 3: an unknown word about a field");
        assert!(parse("message M\n").is_err());
        assert!(parse("package p\nextend M\n  1 a string\n").is_err());
    }
}
