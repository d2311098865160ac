//! `#[prost(...)]`, read strictly: an attribute that is not known here is an error, because a table that
//! left something out would be wrong in silence.

use syn::{Attribute, Expr, Lit, Meta, Token, punctuated::Punctuated};

use crate::Error;

/// What the attribute of one field says.
#[derive(Debug, Default)]
pub(super) struct FieldAttributes {
    /// The type, but for references.
    pub(super) kind: Option<Kind>,
    /// The number; 0 for a oneof, whose variants have theirs.
    pub(super) number: u32,
    /// Is it a list?
    pub(super) repeated: bool,
    /// Is its absence told apart from its zero value?
    pub(super) optional: bool,
}

/// The type in an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A scalar, by its protobuf name.
    Scalar(&'static str),
    /// A message; the Rust type says which.
    Message,
    /// An enum, by its Rust path.
    Enumeration(String),
    /// A map: the key's scalar, the value's kind.
    Map(&'static str, Box<Kind>),
    /// A oneof, by the Rust path of its variants.
    Oneof(String),
}

const SCALARS: [&str; 15] = [
    "bool", "bytes", "double", "fixed32", "fixed64", "float", "int32", "int64", "sfixed32", "sfixed64", "sint32",
    "sint64", "string", "uint32", "uint64",
];

/// Reads the `prost` attribute among `attributes`.
pub(super) fn field(attributes: &[Attribute]) -> Result<FieldAttributes, Error> {
    let mut found = FieldAttributes::default();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("prost")) {
        for meta in attribute.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)? {
            read(&mut found, &meta)?;
        }
    }
    Ok(found)
}

/// Does a `derive` among `attributes` name `prost::{what}`?
pub(super) fn derives(attributes: &[Attribute], what: &str) -> Result<bool, Error> {
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("derive")) {
        let paths = attribute.parse_args_with(Punctuated::<syn::Path, Token![,]>::parse_terminated)?;
        let named = |path: &syn::Path| {
            let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            names == ["prost", what]
        };
        if paths.iter().any(named) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn read(found: &mut FieldAttributes, meta: &Meta) -> Result<(), Error> {
    let key = meta.path().get_ident().map(ToString::to_string).unwrap_or_default();
    let value = match meta {
        Meta::Path(_) => None,
        Meta::NameValue(pair) => Some(text(&pair.value)?),
        Meta::List(_) => return Err(unknown(&key)),
    };
    match (key.as_str(), value) {
        ("repeated", None) => found.repeated = true,
        ("optional", None) => found.optional = true,
        // Boxed is about memory, and `tags` repeats what the variants say.
        ("boxed", None) | ("tags", Some(_)) => {}
        ("tag", Some(number)) => found.number = number.parse().map_err(|_| unknown(&number))?,
        ("message", None) => found.kind = Some(Kind::Message),
        ("bytes", Some(flavour)) if flavour == "vec" => found.kind = Some(Kind::Scalar("bytes")),
        ("enumeration", Some(path)) => found.kind = Some(Kind::Enumeration(path)),
        ("oneof", Some(path)) => found.kind = Some(Kind::Oneof(path)),
        ("map", Some(types)) => found.kind = Some(map(&types)?),
        (name, None) => found.kind = Some(Kind::Scalar(scalar(name)?)),
        (name, Some(_)) => return Err(unknown(name)),
    }
    Ok(())
}

/// `string, message` and the like.
fn map(types: &str) -> Result<Kind, Error> {
    let (key, value) = types.split_once(',').ok_or_else(|| unknown(types))?;
    let value = value.trim();
    let enumeration = value.strip_prefix("enumeration(").and_then(|rest| rest.strip_suffix(')'));
    let value = match (value, enumeration) {
        ("message", _) => Kind::Message,
        (_, Some(path)) => Kind::Enumeration(path.to_owned()),
        (name, None) => Kind::Scalar(scalar(name)?),
    };
    Ok(Kind::Map(scalar(key.trim())?, Box::new(value)))
}

fn scalar(name: &str) -> Result<&'static str, Error> {
    SCALARS.into_iter().find(|scalar| *scalar == name).ok_or_else(|| unknown(name))
}

fn text(value: &Expr) -> Result<String, Error> {
    match value {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(text) => Ok(text.value()),
            _ => Err("a prost attribute has a value that is no string".into()),
        },
        _ => Err("a prost attribute has a value that is no literal".into()),
    }
}

fn unknown(word: &str) -> Error {
    format!("a prost attribute says `{word}`, which this version does not know").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_from(source: &str) -> Result<FieldAttributes, Error> {
        let item: syn::ItemStruct = syn::parse_str(source)?;
        field(&item.fields.iter().next().expect("one field").attrs)
    }

    #[test]
    fn an_unknown_attribute_is_refused_and_named() {
        let error = read_from(r#"struct A { #[prost(string, shiny, tag = "1")] a: String }"#).expect_err("refused");
        assert!(error.to_string().contains("`shiny`"), "{error}");
    }

    #[test]
    fn a_map_names_the_kinds_of_its_key_and_value() {
        let read = read_from(r#"struct A { #[prost(map = "string, message", tag = "7")] a: M }"#).expect("known");
        assert_eq!(read.kind, Some(Kind::Map("string", Box::new(Kind::Message))));
        assert_eq!(read.number, 7);
    }
}
