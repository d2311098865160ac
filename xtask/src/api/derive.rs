//! Generated source → schema.

use std::collections::BTreeMap;

use syn::{Item, ItemEnum, ItemMod, ItemStruct, visit::Visit};

use super::{
    attributes::{self, FieldAttributes, Kind},
    source::Package,
    table::{Declarations, Field, Method, Schema, Type},
};
use crate::Error;

/// Messages whose name the generator has bent to Rust's case. Invisible in JSON and in binary, but not in
/// reflection and in the type URLs of `Any`.
const RENAMED: [(&str, &str); 6] = [
    ("google.cloud.run.v2.GcsVolumeSource", "GCSVolumeSource"),
    ("google.cloud.run.v2.GrpcAction", "GRPCAction"),
    ("google.cloud.run.v2.HttpGetAction", "HTTPGetAction"),
    ("google.cloud.run.v2.HttpHeader", "HTTPHeader"),
    ("google.cloud.run.v2.NfsVolumeSource", "NFSVolumeSource"),
    ("google.cloud.run.v2.TcpSocketAction", "TCPSocketAction"),
];

/// Rust paths of messages and enums (`google::rpc::Status`) → package and protobuf name within it.
type Index = BTreeMap<Vec<String>, (String, String)>;

/// One module of the generated source.
#[derive(Clone, Copy)]
struct Module<'a> {
    package: &'a str,
    /// The Rust path, such as `google::cloud::run::v2::service`.
    path: &'a [String],
    /// The protobuf name of the message whose nested types live here, with a dot; empty at the top.
    prefix: &'a str,
    items: &'a [Item],
}

/// Reads the schema out of generated source.
pub(super) fn schema(packages: &[Package]) -> Result<Schema, Error> {
    let paths: Vec<Vec<String>> = packages.iter().map(|p| p.name.split('.').map(str::to_owned).collect()).collect();
    let tops = packages.iter().zip(&paths);
    let tops: Vec<Module<'_>> =
        tops.map(|(p, path)| Module { package: &p.name, path, prefix: "", items: &p.items }).collect();
    let mut index = Index::new();
    for top in &tops {
        top.index(&mut index)?;
    }
    let mut schema = Schema::default();
    for top in &tops {
        let mut declared = Declarations::default();
        top.declare(&index, &mut declared)?;
        top.services(&index, &mut declared)?;
        schema.packages.insert(top.package.to_owned(), declared);
    }
    Ok(schema)
}

// === impl Module ===

impl Module<'_> {
    fn index(&self, index: &mut Index) -> Result<(), Error> {
        for (ident, _) in self.declared()? {
            let name = (self.package.to_owned(), self.proto_name(&ident));
            index.insert(self.child_path(&ident), name);
        }
        self.each_nested(|nested| nested.index(index))
    }

    fn declare(&self, index: &Index, declared: &mut Declarations) -> Result<(), Error> {
        for (ident, item) in self.declared()? {
            let name = self.proto_name(&ident);
            match item {
                Item::Struct(item) => drop(declared.messages.insert(name, self.fields(index, item)?)),
                Item::Enum(item) => drop(declared.enums.insert(name, self.values(item)?)),
                _ => {}
            }
        }
        self.each_nested(|nested| nested.declare(index, declared))
    }

    /// The messages and enums declared right here.
    fn declared(&self) -> Result<Vec<(String, &Item)>, Error> {
        let mut found = Vec::new();
        for item in self.items {
            match item {
                Item::Struct(s) if attributes::derives(&s.attrs, "Message")? => found.push((plain(&s.ident), item)),
                Item::Enum(e) if attributes::derives(&e.attrs, "Enumeration")? => found.push((plain(&e.ident), item)),
                _ => {}
            }
        }
        Ok(found)
    }

    /// Runs `work` on each module of nested types: the one named like a message here.
    fn each_nested(&self, mut work: impl FnMut(&Module<'_>) -> Result<(), Error>) -> Result<(), Error> {
        for (ident, _) in self.declared()? {
            let Some(items) = self.module_items(&snake(&ident)) else { continue };
            let prefix = format!("{}.", self.proto_name(&ident));
            let path = self.child_path(&snake(&ident));
            work(&Module { package: self.package, path: &path, prefix: &prefix, items })?;
        }
        Ok(())
    }

    fn module_items(&self, name: &str) -> Option<&[Item]> {
        self.items.iter().find_map(|item| match item {
            Item::Mod(ItemMod { ident, content: Some((_, items)), .. }) if plain(ident) == name => Some(&items[..]),
            _ => None,
        })
    }

    fn proto_name(&self, ident: &str) -> String {
        let full = format!("{}.{}{ident}", self.package, self.prefix);
        let renamed = RENAMED.iter().find(|(from, _)| *from == full).map(|(_, to)| *to);
        format!("{}{}", self.prefix, renamed.unwrap_or(ident))
    }

    fn child_path(&self, name: &str) -> Vec<String> {
        let mut path = self.path.to_vec();
        path.push(name.to_owned());
        path
    }

    fn fields(&self, index: &Index, message: &ItemStruct) -> Result<Vec<Field>, Error> {
        let mut fields = Vec::new();
        for field in &message.fields {
            let name = field.ident.as_ref().map(plain).ok_or("a message with unnamed fields")?;
            let said = attributes::field(&field.attrs)?;
            match &said.kind {
                Some(Kind::Oneof(variants)) => fields.extend(self.oneof(index, &name, variants)?),
                _ => fields.push(self.field(index, name, (&said, &field.ty))?),
            }
        }
        fields.sort_by_key(|field| field.number);
        Ok(fields)
    }

    fn field(&self, index: &Index, name: String, said: (&FieldAttributes, &syn::Type)) -> Result<Field, Error> {
        let (said, ty) = said;
        let kind = said.kind.as_ref().ok_or_else(|| format!("{}{name}: no type", self.prefix))?;
        if said.number == 0 {
            return Err(format!("{}{name}: no number", self.prefix).into());
        }
        let kind = self.kind(index, kind, ty)?;
        // Messages always tell absence from zero; the word is only needed for what does not.
        let optional = said.optional && said.kind != Some(Kind::Message);
        Ok(Field { number: said.number, name, kind, repeated: said.repeated, optional, oneof: None })
    }

    fn oneof(&self, index: &Index, oneof: &str, variants: &str) -> Result<Vec<Field>, Error> {
        let (module, ident) = variants.split_once("::").ok_or_else(|| format!("the oneof {variants}"))?;
        let items = self.module_items(module).unwrap_or_default();
        let path = self.child_path(module);
        let inner = Module { package: self.package, path: &path, prefix: self.prefix, items };
        let found = items.iter().find_map(|item| match item {
            Item::Enum(e) if plain(&e.ident) == ident => Some(e),
            _ => None,
        });
        let found = found.ok_or_else(|| format!("no variants {variants} of the oneof {oneof}"))?;
        let field = |variant: &syn::Variant| {
            let said = attributes::field(&variant.attrs)?;
            let ty = &variant.fields.iter().next().ok_or_else(|| format!("{variants}: a variant without type"))?.ty;
            let field = inner.field(index, snake(&plain(&variant.ident)), (&said, ty))?;
            Ok(Field { oneof: Some(oneof.to_owned()), ..field })
        };
        found.variants.iter().map(field).collect()
    }

    fn kind(&self, index: &Index, kind: &Kind, ty: &syn::Type) -> Result<Type, Error> {
        Ok(match kind {
            Kind::Scalar(name) => Type::Scalar(name),
            Kind::Message => Type::Named(self.resolve(index, &type_path(ty)?)?),
            Kind::Enumeration(path) => {
                Type::Named(self.resolve(index, &path.split("::").map(unescaped).collect::<Vec<_>>())?)
            }
            Kind::Map(key, value) => Type::Map(key, Box::new(self.kind(index, value, ty)?)),
            Kind::Oneof(path) => return Err(format!("a oneof {path} inside a type").into()),
        })
    }

    /// The full protobuf name of a Rust path as it is written in this module.
    fn resolve(&self, index: &Index, path: &[String]) -> Result<String, Error> {
        if let Some(known) = well_known(path)? {
            return Ok(known);
        }
        let ups = path.iter().take_while(|part| *part == "super").count();
        let base = self.path.len().checked_sub(ups).map(|keep| &self.path[..keep]).unwrap_or_default();
        let absolute = [base, &path[ups..]].concat();
        let (package, name) =
            index.get(&absolute).ok_or_else(|| format!("{} is not in the packages read", absolute.join("::")))?;
        Ok(format!("{package}.{name}"))
    }

    fn values(&self, item: &ItemEnum) -> Result<Vec<(i32, String)>, Error> {
        let names = self.value_names(&item.ident);
        let value = |variant: &syn::Variant| {
            let ident = plain(&variant.ident);
            let name = names.get(&ident).ok_or_else(|| format!("{}::{ident} has no name", item.ident))?;
            Ok((discriminant(variant)?, name.clone()))
        };
        item.variants.iter().map(value).collect()
    }

    /// The protobuf names of an enum's variants, out of its `as_str_name`.
    fn value_names(&self, item: &syn::Ident) -> BTreeMap<String, String> {
        let mut names = Names::default();
        for block in self.items.iter().filter_map(|i| if let Item::Impl(block) = i { Some(block) } else { None }) {
            if type_path(&block.self_ty).is_ok_and(|path| path == [plain(item)]) {
                names.visit_item_impl(block);
            }
        }
        names.0
    }

    fn services(&self, index: &Index, declared: &mut Declarations) -> Result<(), Error> {
        for item in self.items {
            let Item::Mod(ItemMod { ident, content: Some((_, items)), .. }) = item else { continue };
            if !plain(ident).ends_with("_client") {
                continue;
            }
            let path = self.child_path(&plain(ident));
            let client = Module { package: self.package, path: &path, prefix: "", items };
            for function in items.iter().flat_map(functions) {
                if let Some((service, method)) = client.method(index, function)? {
                    declared.services.entry(service).or_default().push(method);
                }
            }
        }
        Ok(())
    }

    /// The method that a function of a client calls; `None` when it calls none.
    fn method(&self, index: &Index, function: &syn::ImplItemFn) -> Result<Option<(String, Method)>, Error> {
        let mut called = Called::default();
        called.visit_block(&function.block);
        let Some(path) = called.0 else { return Ok(None) };
        let (service, name) =
            path.trim_start_matches('/').rsplit_once('/').ok_or_else(|| format!("the path {path}"))?;
        let service = service.rsplit('.').next().unwrap_or(service).to_owned();
        let types = signature(function).ok_or_else(|| format!("{path} is not unary"))?;
        let request = self.resolve(index, &type_path(types.0)?)?;
        let response = self.resolve(index, &type_path(types.1)?)?;
        Ok(Some((service, Method { name: name.to_owned(), request, response })))
    }
}

/// Collects `Self::Variant => "NAME"` of `as_str_name`.
#[derive(Default)]
struct Names(BTreeMap<String, String>);

impl<'ast> Visit<'ast> for Names {
    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if function.sig.ident == "as_str_name" {
            syn::visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        if let (syn::Pat::Path(pattern), Some(name)) = (&arm.pat, literal(&arm.body))
            && let Some(variant) = pattern.path.segments.last()
        {
            self.0.insert(plain(&variant.ident), name);
        }
    }
}

/// Finds the path that a client function calls: the one string that begins with a slash.
#[derive(Default)]
struct Called(Option<String>);

impl<'ast> Visit<'ast> for Called {
    fn visit_lit_str(&mut self, literal: &'ast syn::LitStr) {
        if literal.value().starts_with('/') {
            self.0 = Some(literal.value());
        }
    }
}

fn literal(body: &syn::Expr) -> Option<String> {
    match body {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
        syn::Expr::Block(block) => match &block.block.stmts[..] {
            [syn::Stmt::Expr(body, None)] => literal(body),
            _ => None,
        },
        _ => None,
    }
}

fn functions(item: &Item) -> impl Iterator<Item = &syn::ImplItemFn> {
    let items = if let Item::Impl(block) = item { &block.items[..] } else { &[] };
    items.iter().filter_map(|item| if let syn::ImplItem::Fn(function) = item { Some(function) } else { None })
}

/// The request and response types of `fn(&mut self, impl IntoRequest<Q>) -> Result<Response<A>, Status>`.
fn signature(function: &syn::ImplItemFn) -> Option<(&syn::Type, &syn::Type)> {
    let syn::FnArg::Typed(argument) = function.sig.inputs.iter().nth(1)? else { return None };
    let syn::Type::ImplTrait(into) = &*argument.ty else { return None };
    let syn::TypeParamBound::Trait(bound) = into.bounds.first()? else { return None };
    let request = bound.path.segments.last().filter(|segment| segment.ident == "IntoRequest")?;
    let syn::ReturnType::Type(_, result) = &function.sig.output else { return None };
    let response = first_argument(last_segment(result)?)?;
    let answer = last_segment(response).filter(|segment| segment.ident == "Response")?;
    Some((first_argument(request)?, first_argument(answer)?))
}

/// The Rust path of a type, without what only wraps it; of a map, its value's.
fn type_path(ty: &syn::Type) -> Result<Vec<String>, Error> {
    if let syn::Type::Tuple(tuple) = ty
        && tuple.elems.is_empty()
    {
        return Ok(vec!["()".to_owned()]);
    }
    let syn::Type::Path(path) = ty else { return Err("a field of a type that is no path".into()) };
    let last = last_segment(ty).ok_or("an empty path")?;
    match last.ident.to_string().as_str() {
        "Option" | "Vec" | "Box" => type_path(first_argument(last).ok_or("a wrapper of nothing")?),
        "HashMap" => type_path(arguments(last).nth(1).ok_or("a map without a value")?),
        _ => Ok(path.path.segments.iter().map(|segment| plain(&segment.ident)).collect()),
    }
}

fn last_segment(ty: &syn::Type) -> Option<&syn::PathSegment> {
    if let syn::Type::Path(path) = ty { path.path.segments.last() } else { None }
}

fn first_argument(segment: &syn::PathSegment) -> Option<&syn::Type> {
    arguments(segment).next()
}

fn arguments(segment: &syn::PathSegment) -> impl Iterator<Item = &syn::Type> {
    let list = if let syn::PathArguments::AngleBracketed(list) = &segment.arguments { Some(&list.args) } else { None };
    list.into_iter().flatten().filter_map(|a| if let syn::GenericArgument::Type(ty) = a { Some(ty) } else { None })
}

/// Rust types that stand for the messages which wrap a scalar.
const WRAPPERS: [(&str, &str); 9] = [
    ("()", "Empty"),
    ("String", "StringValue"),
    ("bool", "BoolValue"),
    ("f32", "FloatValue"),
    ("f64", "DoubleValue"),
    ("i32", "Int32Value"),
    ("i64", "Int64Value"),
    ("u32", "UInt32Value"),
    ("u64", "UInt64Value"),
];

/// The full name of a type of `google.protobuf`; `None` for any other.
fn well_known(path: &[String]) -> Result<Option<String>, Error> {
    const KNOWN: [&str; 10] =
        ["Any", "Api", "Duration", "Enum", "FieldMask", "ListValue", "Struct", "Timestamp", "Type", "Value"];
    match path {
        [krate, name] if krate == "prost_types" => match KNOWN.contains(&name.as_str()) {
            true => Ok(Some(format!("google.protobuf.{name}"))),
            false => Err(format!("prost_types::{name} is not known here").into()),
        },
        [.., name] if path.len() == 1 || name == "String" => {
            let wrapper = WRAPPERS.iter().find(|(rust, _)| rust == name);
            Ok(wrapper.map(|(_, proto)| format!("google.protobuf.{proto}")))
        }
        _ => Ok(None),
    }
}

fn discriminant(variant: &syn::Variant) -> Result<i32, Error> {
    let number = match &variant.discriminant {
        Some((_, syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Int(number), .. }))) => number.base10_parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| format!("the number of {} is no literal", variant.ident).into())
}

fn plain(ident: &syn::Ident) -> String {
    unescaped(&ident.to_string())
}

fn unescaped(name: &str) -> String {
    name.trim_start_matches("r#").to_owned()
}

/// `HttpGetAction` → `http_get_action`.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for (index, c) in name.chars().enumerate() {
        if c.is_uppercase() && index > 0 {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake
}
