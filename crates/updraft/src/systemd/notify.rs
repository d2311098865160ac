//! The protocol of `sd_notify(3)`: short messages to a datagram socket that the service manager names.

use std::{
    future::pending,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    time::Duration,
};

use updraft_base::Clock;

/// Tells the service manager how the server fares. Without one, it tells nobody.
#[derive(Debug, Default)]
pub struct Notifier {
    manager: Option<(UnixDatagram, SocketAddr)>,
    /// Half of the time after which a silent server is taken for hung.
    beat: Option<Duration>,
}

// === impl Notifier ===

impl Notifier {
    /// The manager that the environment names, read through `lookup`: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`.
    /// One that cannot be reached is none, but said so.
    pub fn from_environment(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let Some(name) = lookup("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return Self::default() };
        let address = match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(&name),
        };
        let manager = match address.and_then(|address| Ok((UnixDatagram::unbound()?, address))) {
            Ok(manager) => manager,
            Err(error) => {
                tracing::warn!(socket = name, %error, "the service manager cannot be told anything");
                return Self::default();
            }
        };
        let ours = lookup("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let limit = lookup("WATCHDOG_USEC").filter(|_| ours).and_then(|micros| micros.parse().ok());
        Self {
            manager: Some(manager),
            beat: limit.filter(|&micros| micros > 1).map(|micros| Duration::from_micros(micros) / 2),
        }
    }

    /// Requests are answered from now on, at `address`.
    pub fn ready(&self, address: &str) {
        self.tell(&format!("READY=1\nSTATUS=Serving on {address}"));
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=Draining");
    }

    /// Tells the watchdog that the server's runtime still runs, for ever.
    pub async fn keep_alive(&self, clock: &Clock) {
        let Some(beat) = self.beat else { return pending().await };
        loop {
            self.tell("WATCHDOG=1");
            clock.sleep(beat).await;
        }
    }

    fn tell(&self, message: &str) {
        let Some((socket, address)) = &self.manager else { return };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), address) {
            tracing::warn!(%error, "the service manager could not be told");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn the_manager_is_told_at_a_path_and_at_an_abstract_name() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let path = dir.path().join("notify");
        let name = format!("updraft-notify-{}", std::process::id());
        let at_name = SocketAddr::from_abstract_name(&name).expect("short");
        for (socket, shown) in [
            (UnixDatagram::bind(&path), path.display().to_string()),
            (UnixDatagram::bind_addr(&at_name), format!("@{name}")),
        ] {
            let socket = socket.expect("free");
            let notifier = Notifier::from_environment(|key| (key == "NOTIFY_SOCKET").then(|| shown.clone()));
            notifier.ready("http://127.0.0.1:8080");
            assert_eq!(heard(&socket), "READY=1\nSTATUS=Serving on http://127.0.0.1:8080");
            notifier.stopping();
            assert_eq!(heard(&socket), "STOPPING=1\nSTATUS=Draining");
        }
    }

    #[tokio::test]
    async fn the_watchdog_is_told_twice_as_often_as_it_asks_and_only_who_it_means() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("free");
        let environment = |pid: u32| {
            let path = path.display().to_string();
            move |key: &str| match key {
                "NOTIFY_SOCKET" => Some(path.clone()),
                "WATCHDOG_USEC" => Some("60000000".to_owned()),
                "WATCHDOG_PID" => Some(pid.to_string()),
                _ => None,
            }
        };
        assert_eq!(Notifier::from_environment(environment(1)).beat, None, "meant for another process");
        let notifier = Notifier::from_environment(environment(std::process::id()));
        let (clock, hand) = Clock::stopped_at(std::time::SystemTime::UNIX_EPOCH);
        let mut beats = std::pin::pin!(notifier.keep_alive(&clock));
        for _ in 0..3 {
            assert!(futures::poll!(&mut beats).is_pending(), "it never ends");
            assert_eq!(heard(&socket), "WATCHDOG=1");
            hand.advance(Duration::from_secs(30));
        }
    }
}
