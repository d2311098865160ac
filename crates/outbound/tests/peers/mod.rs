//! A small internet on loopback: names, the addresses they lead to, and servers that stand there.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};

use futures::future::BoxFuture;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};
use updraft_base::{OnFailure, Tasks};
use updraft_outbound::{Certificate, Client, Config, Network, Policy, Proxy};

/// What a server answers to the head of a request; the connection ends with it.
pub(crate) type Answer = Box<dyn Fn(&str) -> String + Send + Sync>;

/// Names, servers, and what they were asked.
pub(crate) struct Internet {
    net: Arc<Net>,
    issuer: Issuer<'static, KeyPair>,
    root: Certificate,
    tasks: Tasks,
}

/// What a server was asked, head by head.
#[derive(Clone, Default)]
pub(crate) struct Heads(Arc<Mutex<Vec<String>>>);

#[derive(Debug, Default)]
struct Net {
    /// What a name leads to, lookup by lookup; the last answer stays.
    names: Mutex<HashMap<String, Vec<Vec<IpAddr>>>>,
    lookups: Mutex<Vec<String>>,
    places: Mutex<HashMap<IpAddr, SocketAddr>>,
    own: Mutex<HashSet<IpAddr>>,
}

// === impl Internet ===

impl Internet {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).expect("signed");
        let root = Certificate::from_der(root.der()).expect("a certificate");
        Self { net: Arc::default(), issuer: Issuer::new(params, key), root, tasks: Tasks::new() }
    }

    /// A client in it that may reach what `allow` says, separated by commas, beside public addresses.
    pub(crate) fn client(&self, allow: &str) -> Client {
        self.client_by(allow, None)
    }

    /// The same through a proxy.
    pub(crate) fn client_by(&self, allow: &str, proxy: Option<Proxy>) -> Client {
        let parts = allow.split(',').map(str::trim).filter(|part| !part.is_empty());
        let policy = Policy { allow: parts.map(|part| part.parse().expect(part)).collect(), ..Policy::default() };
        Client::on(Config { policy, proxy, roots: vec![self.root.clone()], ..Config::default() }, self.net.clone())
    }

    /// Lets `name` lead to `addresses`, separated by spaces; said again, that is the answer to the next lookup.
    pub(crate) fn name(&self, name: &str, addresses: &str) -> &Self {
        let addresses = addresses.split(' ').filter(|text| !text.is_empty()).map(|text| text.parse().expect(text));
        self.net.names.lock().unwrap().entry(name.to_owned()).or_default().push(addresses.collect());
        self
    }

    /// A name with a server at `address`, which speaks TLS and has a certificate for it.
    pub(crate) async fn host(&self, name: &str, address: &str, answer: Answer) -> Heads {
        self.name(name, address);
        self.secure(name, address, answer).await
    }

    /// A server at `address` that shows a certificate for `name`.
    pub(crate) async fn secure(&self, name: &str, address: &str, answer: Answer) -> Heads {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let chain = vec![params.signed_by(&key, &self.issuer).expect("signed").der().clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).expect("fits");
        let (place, heads) = self.serve(Some(TlsAcceptor::from(Arc::new(config))), answer).await;
        self.net.places.lock().unwrap().insert(address.parse().expect(address), place);
        heads
    }

    /// A server that speaks plain HTTP, and its address, `127.0.0.1:PORT`.
    pub(crate) async fn plain(&self, answer: Answer) -> (SocketAddr, Heads) {
        self.serve(None, answer).await
    }

    /// An address of the machine itself.
    pub(crate) fn own(&self, address: &str) -> &Self {
        self.net.own.lock().unwrap().insert(address.parse().expect(address));
        self
    }

    /// How often a name was looked up.
    pub(crate) fn lookups(&self, name: &str) -> usize {
        self.net.lookups.lock().unwrap().iter().filter(|&known| known == name).count()
    }

    async fn serve(&self, tls: Option<TlsAcceptor>, answer: Answer) -> (SocketAddr, Heads) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let place = listener.local_addr().expect("it is bound");
        let heads = Heads::default();
        let (tasks, seen, answer) = (self.tasks.clone(), heads.clone(), Arc::new(answer));
        self.tasks.spawn("server", OnFailure::Log, async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a client");
                let (tls, seen, answer) = (tls.clone(), seen.clone(), answer.clone());
                tasks.spawn("connection", OnFailure::Log, async move {
                    // The client may hang up whenever it likes.
                    let _ = match tls {
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => converse(stream, &seen, &answer).await,
                            Err(error) => Err(error),
                        },
                        None => converse(stream, &seen, &answer).await,
                    };
                });
            }
        });
        (place, heads)
    }
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, seen: &Heads, answer: &Answer) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let answer = answer(&head);
    seen.0.lock().unwrap().push(head);
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// An answer of 200 with `body`, and headers more, each with its line end.
pub(crate) fn ok(headers: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

/// A server that answers 200 with `body` to everything.
pub(crate) fn always(body: &'static str) -> Answer {
    Box::new(move |_| ok("", body))
}

/// A server that sends everybody on to `location`.
pub(crate) fn redirects(location: impl Into<String>) -> Answer {
    let location = location.into();
    Box::new(move |_| {
        format!("HTTP/1.1 307 Go\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    })
}

// === impl Heads ===

impl Heads {
    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// What was asked last, in lower case.
    pub(crate) fn last(&self) -> String {
        self.0.lock().unwrap().last().expect("nobody asked").to_ascii_lowercase()
    }
}

// === impl Net ===

impl Network for Net {
    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        self.lookups.lock().unwrap().push(name.to_owned());
        let mut names = self.names.lock().unwrap();
        let answer = match names.get_mut(name) {
            Some(answers) if answers.len() > 1 => Ok(answers.remove(0)),
            Some(answers) => Ok(answers[0].clone()),
            None => Err(io::Error::other("no such name")),
        };
        Box::pin(std::future::ready(answer))
    }

    fn is_own(&self, address: IpAddr) -> bool {
        self.own.lock().unwrap().contains(&address)
    }

    /// Nothing leaves loopback: where no server was put, nobody listens.
    fn place(&self, checked: SocketAddr) -> SocketAddr {
        let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
        if checked.ip().is_loopback() {
            checked
        } else {
            *self.places.lock().unwrap().get(&checked.ip()).unwrap_or(&nobody)
        }
    }
}
