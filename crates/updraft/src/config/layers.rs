//! Layers of settings, and how they become one.

use std::{collections::BTreeMap, fmt, path::Path};

use super::{ConfigError, SETTINGS, Setting};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said.
    Default,
    /// A file.
    File(String),
    /// A variable.
    Variable(&'static str),
    /// A flag.
    Flag,
}

/// Settings from one place: key → value.
#[derive(Debug, Clone, Default)]
pub struct Layer(pub BTreeMap<&'static str, (String, Option<Origin>)>);

/// A setting with the value that won.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The setting's key.
    pub key: &'static str,
    /// The value.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

/// Every setting with its value: the last layer that has it wins, then the default.
pub fn combine(layers: &[Layer]) -> Vec<Resolved> {
    SETTINGS
        .iter()
        .map(|setting| {
            let found = layers.iter().rev().find_map(|layer| layer.0.get(setting.key));
            let (value, origin) = match found {
                Some((value, origin)) => (value.clone(), origin.clone().unwrap_or(Origin::Flag)),
                None => (setting.default.to_owned(), Origin::Default),
            };
            Resolved { key: setting.key, value, origin }
        })
        .collect()
}

/// The layer of variables, read through `lookup` so that no test touches the process.
pub fn environment(lookup: impl Fn(&str) -> Option<String>) -> Layer {
    let set = |setting: &'static Setting| {
        let value = lookup(setting.variable)?;
        Some((setting.key, (value, Some(Origin::Variable(setting.variable)))))
    };
    Layer(SETTINGS.iter().filter_map(set).collect())
}

/// The layer of a file's text.
///
/// # Errors
/// [`ConfigError::File`] when it is not TOML or holds more than plain values, [`ConfigError::Unknown`]
/// for a key that is no setting: a typing error must not pass for a default.
pub fn file(path: &Path, text: &str) -> Result<Layer, ConfigError> {
    let shown = path.display().to_string();
    let broken = |cause: String| ConfigError::File { file: shown.clone(), cause };
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| broken(error.to_string()))?;
    let mut layer = Layer::default();
    for (key, value) in table {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key.replace('_', "-")) else {
            let known = SETTINGS.iter().map(|setting| setting.key).collect::<Vec<_>>().join(", ");
            return Err(ConfigError::Unknown { key, file: shown, known });
        };
        let value = plain(&value)
            .ok_or_else(|| broken(format!("'{key}' must be a string, a number, true or false, or a list")))?;
        layer.0.insert(setting.key, (value, Some(Origin::File(shown.clone()))));
    }
    Ok(layer)
}

fn plain(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(truth) => Some(truth.to_string()),
        toml::Value::Array(items) => items.iter().map(plain).collect::<Option<Vec<_>>>().map(|items| items.join(",")),
        _ => None,
    }
}

// === impl Origin ===

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(file) => f.write_str(file),
            Self::Variable(variable) => write!(f, "${variable}"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<'a>(resolved: &'a [Resolved], key: &str) -> &'a Resolved {
        resolved.iter().find(|resolved| resolved.key == key).expect("a setting")
    }

    #[test]
    fn flags_win_over_variables_and_variables_over_the_file() {
        let file = file(Path::new("u.toml"), "listen = '127.0.0.1:1'\nregion = 'r-file'\ndns = ['1.1.1.1', '8.8.8.8']")
            .expect("well formed");
        let variables = environment(|name| match name {
            "UPDRAFT_LISTEN" => Some("127.0.0.1:2".to_owned()),
            "UPDRAFT_DOMAIN" => Some("example.test".to_owned()),
            _ => None,
        });
        let flags = Layer([("domain", ("flag.test".to_owned(), None))].into());
        let resolved = combine(&[file, variables, flags]);
        assert_eq!(value(&resolved, "listen").value, "127.0.0.1:2");
        assert_eq!(value(&resolved, "listen").origin, Origin::Variable("UPDRAFT_LISTEN"));
        assert_eq!(value(&resolved, "region").origin, Origin::File("u.toml".to_owned()));
        assert_eq!(value(&resolved, "dns").value, "1.1.1.1,8.8.8.8");
        assert_eq!(
            (value(&resolved, "domain").value.as_str(), &value(&resolved, "domain").origin),
            ("flag.test", &Origin::Flag)
        );
        assert_eq!(value(&resolved, "auth").origin, Origin::Default);
    }

    #[test]
    fn a_misspelt_key_is_refused_by_name() {
        let error = file(Path::new("u.toml"), "lisen = 'x'").expect_err("unknown");
        assert!(error.to_string().contains("'lisen'") && error.to_string().contains("listen"), "{error}");
    }
}
