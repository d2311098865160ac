//! The container: writes what the input says and keeps what it read.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::{
    check::{self, Read},
    input::Input,
};

/// What the container is told, and what it tells.
#[derive(Default)]
pub(crate) struct Stage {
    pub answers: RefCell<Vec<Vec<u8>>>,
    pub is_eager: Cell<bool>,
    pub closes: Cell<bool>,
    /// How many requests were answered.
    pub answered: Cell<usize>,
    /// What came, by connection.
    pub seen: RefCell<Vec<Seen>>,
    /// Grows with everything that happens.
    pub progress: Cell<u64>,
    pub open: Cell<usize>,
}

/// What came on one connection.
#[derive(Default, Clone)]
pub(crate) struct Seen {
    pub bytes: Vec<u8>,
    /// From this byte on it is not HTTP: the container agreed to an upgrade.
    pub upgraded_at: Option<usize>,
}

impl Stage {
    pub(crate) fn set(&self, input: &Input) {
        self.answers.replace(input.answers.clone());
        self.is_eager.set(input.is_eager);
        self.closes.set(input.closes);
        self.answered.set(0);
        self.seen.borrow_mut().clear();
    }

    pub(crate) fn moved(&self) {
        self.progress.set(self.progress.get() + 1);
    }

    fn next_answer(&self) -> Vec<u8> {
        let answers = self.answers.borrow();
        let number = self.answered.replace(self.answered.get() + 1);
        answers.get(number).or(answers.last()).cloned().unwrap_or_default()
    }
}

/// Listens, and serves connections until `end` changes, which ends all that are open.
pub(crate) async fn start(stage: Rc<Stage>, end: watch::Receiver<u64>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("there are descriptors");
            stage.moved();
            let number = stage.seen.borrow().len();
            stage.seen.borrow_mut().push(Seen::default());
            let (stage, mut end) = (stage.clone(), end.clone());
            end.mark_unchanged();
            stage.open.set(stage.open.get() + 1);
            tokio::task::spawn_local(async move {
                tokio::select! {
                    () = serve(stream, &stage, number) => {}
                    _ = end.changed() => {}
                }
                stage.open.set(stage.open.get() - 1);
                stage.moved();
            });
        }
    });
    address
}

async fn serve(mut stream: TcpStream, stage: &Stage, number: usize) {
    let mut buffer = [0; 16 << 10];
    // Where the request begins that is read now, and whether it was answered already.
    let (mut begin, mut is_answered) = (0, false);
    loop {
        let Ok(count @ 1..) = stream.read(&mut buffer).await else { return };
        stage.moved();
        let mut bytes = {
            let mut all = stage.seen.borrow_mut();
            // What is left of an input before this one is nobody's.
            let Some(seen) = all.get_mut(number) else { return };
            seen.bytes.extend(&buffer[..count]);
            if seen.upgraded_at.is_some() {
                continue;
            }
            seen.bytes.clone()
        };
        loop {
            let rest = &bytes[begin..];
            let (is_due, is_whole) = match check::request(rest) {
                Read::Nothing => break,
                Read::Head => (stage.is_eager.get(), false),
                Read::Whole(length) => {
                    begin += length;
                    (true, true)
                }
            };
            if is_due && !is_answered {
                is_answered = true;
                let answer = stage.next_answer();
                let upgrades = answer.starts_with(b"HTTP/1.1 101");
                if upgrades {
                    if let Some(seen) = stage.seen.borrow_mut().get_mut(number) {
                        seen.upgraded_at = Some(begin);
                    }
                    bytes.truncate(begin);
                }
                if stream.write_all(&answer).await.is_err() {
                    return;
                }
                stage.moved();
                if stage.closes.get() {
                    return;
                }
                if upgrades {
                    break;
                }
            }
            if !is_whole {
                break;
            }
            is_answered = false;
        }
    }
}
