//! A request's body, from clients that may be slow, dead or hostile.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use updraft_base::Clock;

use crate::error::Refusal;

/// In every such time ...
const WINDOW: Duration = Duration::from_secs(60);
/// ... this much has to come, in bytes: slow lines do that, and who sends a byte now and then holds
/// a connection and an upload for no good.
const LEAST: usize = 16 << 10;

/// The body of a request, piece by piece.
#[derive(Debug)]
pub(crate) struct Inbound<'a> {
    body: &'a mut Incoming,
    clock: &'a Clock,
    /// What has come in this window, and how much is left of it.
    came: usize,
    left: Duration,
}

/// Why a body did not come to its end.
#[derive(Debug)]
pub(crate) enum Broken {
    Connection(hyper::Error),
    Slow,
}

// === impl Inbound ===

impl<'a> Inbound<'a> {
    pub(crate) fn new(body: &'a mut Incoming, clock: &'a Clock) -> Self {
        Self { body, clock, came: 0, left: WINDOW }
    }

    /// The next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        loop {
            // Only the waiting counts. What is done with a piece may take longer than the window: the first after a
            // restart has everything before it read again.
            let asked = self.clock.instant();
            let Ok(frame) = self.clock.timeout(self.left, self.body.frame()).await else { return Err(Broken::Slow) };
            self.left = self.left.saturating_sub(self.clock.instant().saturating_duration_since(asked));
            let Some(frame) = frame else { return Ok(None) };
            // Trailers say nothing to us.
            let Ok(bytes) = frame.map_err(Broken::Connection)?.into_data() else { continue };
            self.came += bytes.len();
            if self.came >= LEAST {
                (self.came, self.left) = (0, WINDOW);
            }
            return Ok(Some(bytes));
        }
    }
}

// === impl Broken ===

impl Broken {
    /// The refusal, with the code for what was being sent.
    pub(crate) fn refusal(self, code: &'static str) -> Refusal {
        match self {
            Self::Connection(error) => Refusal::new(StatusCode::BAD_REQUEST, code, error.to_string()),
            Self::Slow => {
                let message = format!("less than {LEAST} bytes came in {} s", WINDOW.as_secs());
                Refusal::new(StatusCode::REQUEST_TIMEOUT, code, message)
            }
        }
    }
}
