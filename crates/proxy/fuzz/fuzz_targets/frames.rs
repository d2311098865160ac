//! Frames of HTTP/2 made of a few bytes each, so that the fuzzer need not find lengths and HPACK by itself.

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Names that a block of fields is made of; the longer half of what matters on the way.
const NAMES: [&str; 32] = [
    ":method",
    ":path",
    ":scheme",
    ":authority",
    ":protocol",
    ":status",
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "cookie",
    "authorization",
    "x-serverless-authorization",
    "content-type",
    "x-forwarded-for",
    "forwarded",
    "x-forwarded-proto",
    "keep-alive",
    "proxy-connection",
    "x-a",
    "grpc-timeout",
    "traceparent",
    "x-cloud-trace-context",
    "sec-websocket-version",
    "sec-websocket-key",
    "X-Upper",
    "",
    "x y",
];

/// Reads the list of frames. Each begins with a byte whose low half is what it is and whose high half is where.
pub(crate) fn assemble(script: &[u8]) -> Vec<u8> {
    let mut script = Script(script);
    let mut bytes = [PREFACE, &frame(4, 0, 0, &[])].concat();
    let mut newest = 0_u32;
    while let Some(what) = script.byte() {
        let stream = match what >> 4 {
            15 => 0,
            back => newest.saturating_sub(2 * u32::from(back)),
        };
        let opens = |newest: &mut u32| {
            *newest = if *newest == 0 { 1 } else { *newest + 2 };
            *newest
        };
        let made = match what & 15 {
            0 => frame(1, 5, opens(&mut newest), &head("GET", "/")),
            1 => frame(1, 4, opens(&mut newest), &head("POST", "/")),
            2 => frame(0, 0, stream, script.text()),
            3 => frame(0, 1, stream, script.text()),
            4 => frame(1, 5, opens(&mut newest), &[head("GET", "/"), script.block()].concat()),
            5 => frame(1, 4, opens(&mut newest), &[head("POST", "/"), script.block()].concat()),
            6 => frame(1, 5, opens(&mut newest), &script.block()),
            7 => frame(1, 4, opens(&mut newest), &script.block()),
            // Trailers, or a second head.
            8 => frame(1, 5, stream, &script.block()),
            9 => frame(3, 0, stream, &[0, 0, 0, 8]),
            10 => frame(8, 0, stream, &script.number()),
            11 => {
                let name = [0, script.byte().unwrap_or(0)];
                frame(4, 0, 0, &[&name[..], &script.number()].concat())
            }
            12 => frame(6, 0, 0, b"12345678"),
            13 => frame(1, 4, opens(&mut newest), &[tunnel(), script.block()].concat()),
            // A head in two frames.
            14 => {
                let fields = [head("GET", "/"), script.block()].concat();
                let (first, rest) = fields.split_at(fields.len() / 2);
                let stream = opens(&mut newest);
                [frame(1, 1, stream, first), frame(9, 4, stream, rest)].concat()
            }
            // Anything.
            _ => {
                let (kind, flags) = (script.byte().unwrap_or(0), script.byte().unwrap_or(0));
                frame(kind, flags, stream, script.text())
            }
        };
        bytes.extend(made);
    }
    bytes
}

fn head(method: &str, path: &str) -> Vec<u8> {
    let fields = [(":method", method), (":scheme", "http"), (":authority", "a.t"), (":path", path)];
    fields.into_iter().flat_map(|(name, value)| field(name.as_bytes(), value.as_bytes())).collect()
}

fn tunnel() -> Vec<u8> {
    [head("CONNECT", "/"), field(b":protocol", b"websocket")].concat()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A literal that is not to be remembered. Names and values are no longer than a length of one byte tells.
fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let text = |text: &[u8]| [&[text.len().min(126) as u8], &text[..text.len().min(126)]].concat();
    [&[0], &*text(name), &text(value)].concat()
}

struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// A length of one byte, and so many bytes.
    fn text(&mut self) -> &'a [u8] {
        let length = self.byte().unwrap_or(0);
        let (text, rest) = self.0.split_at(usize::from(length).min(self.0.len()));
        self.0 = rest;
        text
    }

    fn number(&mut self) -> [u8; 4] {
        let mut number = [0; 4];
        for byte in &mut number {
            *byte = self.byte().unwrap_or(0);
        }
        number
    }

    /// A number of fields: each is a name of the list and a text, or a text for the name as well.
    fn block(&mut self) -> Vec<u8> {
        let count = self.byte().unwrap_or(0) & 15;
        let mut block = Vec::new();
        for _ in 0..count {
            let Some(name) = self.byte() else { break };
            let name = match NAMES.get(usize::from(name)) {
                Some(name) => name.as_bytes(),
                None => self.text(),
            };
            block.extend(field(name, self.text()));
        }
        block
    }
}
