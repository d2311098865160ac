//! A sealer for tests: what it seals is not the value, opens under its name only, and says its key.

use std::sync::Mutex;

use updraft_model::{
    Confidential, Error,
    secret::{Sealed, Sealer},
};

/// Keys are numbers; the last one seals.
pub(crate) struct TestSealer(pub(crate) Mutex<u8>);

impl TestSealer {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(1))
    }

    fn key(&self) -> u8 {
        *self.0.lock().expect("not poisoned")
    }
}

fn mixed(key: u8, bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| byte ^ (0x80 | key)).collect()
}

impl Sealer for TestSealer {
    fn current(&self) -> String {
        format!("key-{}", self.key())
    }

    fn seal(&self, name: &str, value: &Confidential) -> Result<Sealed, Error> {
        let key = self.key();
        let bytes = [&[key], name.as_bytes(), b"\0", &mixed(key, value.expose())].concat();
        Ok(Sealed { key: format!("key-{key}"), bytes })
    }

    fn open(&self, name: &str, sealed: &[u8]) -> Result<Confidential, Error> {
        let (key, rest) =
            sealed.split_first().filter(|(key, _)| **key <= self.key()).ok_or_else(|| Error::internal("key"))?;
        let value = rest.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"\0"));
        Ok(Confidential::new(mixed(*key, value.ok_or_else(|| Error::internal("another name"))?)))
    }

    fn rewrap(&self, name: &str, sealed: &[u8]) -> Result<Sealed, Error> {
        self.seal(name, &self.open(name, sealed)?)
    }

    fn renew(&self) -> Result<(), Error> {
        *self.0.lock().expect("not poisoned") += 1;
        Ok(())
    }
}
