//! Looks at an instance that did not pass its startup probe, before it is ended.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use updraft_model::instance::{ContainerSpec, InstanceSpec};
use updraft_plan::diagnosis::{Answer, Greeting, NotReady, Recent};

use crate::{
    context::Context,
    instance::Instance,
    probe::{Failed, Whose},
};

/// How long it may take to say something.
const PATIENCE: Duration = Duration::from_secs(1);
/// So much of what it says is enough to tell languages apart, in bytes.
const ENOUGH: usize = 64;
/// So much of it is repeated, in letters.
const REPEATED: usize = 40;
const HELLO: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: updraft-doctor\r\nConnection: close\r\n\r\n";

/// What there is to see. Takes at most two [`PATIENCE`] where it takes connections and says nothing, and
/// no time otherwise.
pub(crate) async fn look(
    context: &Context,
    instance: &Instance,
    (spec, container): (&InstanceSpec, &ContainerSpec),
    failed: Failed,
) -> NotReady {
    let Failed { report: probe, sample } = failed;
    // First, and at once: what it uses is compared with what it had used a moment ago.
    let now = context.clock.instant();
    let seen = Whose::of(spec, container).inspect(&*context.engine, &instance.id).await;
    let recent = seen.as_ref().zip(sample).map(|(seen, (at, before))| Recent {
        cpu: seen.usage.cpu.saturating_sub(before.cpu),
        within: now.saturating_duration_since(at),
    });
    let greeting = match probe.last {
        Answer::Late | Answer::Broken(_) => greet(context, instance, probe.port).await,
        _ => None,
    };
    NotReady { probe, seen, recent, greeting, limits: container.limits }
}

/// What it says to plain HTTP; `None` when it cannot be connected to.
async fn greet(context: &Context, instance: &Instance, port: u16) -> Option<Greeting> {
    let connected = context.clock.timeout(PATIENCE, context.engine.connect(&instance.id, port)).await;
    let mut stream = connected.ok()?.ok()?;
    let mut said = Vec::new();
    let exchange = async {
        stream.write_all(HELLO).await?;
        let mut buffer = [0; ENOUGH];
        while said.len() < ENOUGH {
            match stream.read(&mut buffer).await? {
                0 => break,
                length => said.extend_from_slice(&buffer[..length]),
            }
        }
        Ok::<_, std::io::Error>(())
    };
    let over = context.clock.timeout(PATIENCE, exchange).await;
    Some(match greeting(&said) {
        Greeting::Closed if over.is_err() => Greeting::Silence,
        greeting => greeting,
    })
}

/// Which language are these first bytes?
fn greeting(said: &[u8]) -> Greeting {
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;
    match said {
        [] => Greeting::Closed,
        // RFC 8446, 5.1: an alert or a handshake, of SSL 3 or TLS.
        [0x15 | 0x16, 0x03, 0..=4, ..] => Greeting::Tls,
        // RFC 9113, 4.1: a length that is not large, one of the types that a server begins with, stream 0.
        [0, _, _, SETTINGS | GOAWAY, _, 0, 0, 0, 0, ..] => Greeting::Http2,
        _ => match said.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5)) {
            Some(status) => {
                let status = std::str::from_utf8(status).ok().and_then(|status| status.parse().ok());
                Greeting::Http1(status.unwrap_or(0))
            }
            None => {
                let text = String::from_utf8_lossy(said);
                Greeting::Other(text.chars().take(REPEATED).flat_map(char::escape_debug).collect())
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_told_apart_by_their_first_bytes() {
        for (said, want) in [
            (&b""[..], Greeting::Closed),
            (b"HTTP/1.1 404 Not Found\r\n", Greeting::Http1(404)),
            (b"HTTP/1.0 200", Greeting::Http1(200)),
            (b"HTTP/1.1 x", Greeting::Other("HTTP/1.1 x".to_owned())),
            (&[0x15, 3, 1, 0, 2, 2, 22], Greeting::Tls),
            (&[0, 0, 18, 4, 0, 0, 0, 0, 0, 0, 3], Greeting::Http2),
            (&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0], Greeting::Http2),
            (b"SSH-2.0-x\r\n", Greeting::Other("SSH-2.0-x\\r\\n".to_owned())),
        ] {
            assert_eq!(greeting(said), want, "{said:?}");
        }
    }
}
