//! `cargo xtask bench NAME`: the promises of SPEC.md, each beside its peer in the same run.
//!
//! What counts are ratios. Every bench prints a table, and with `--json` one object on one line of stdout:
//! `{bench, machine, rows, ratios}`. `--quick` scales counts and keeps the keys.

mod cold_start;
mod cold_storm;
mod density;
mod files;
mod http;
#[path = "../../../crates/updraft/src/image.rs"]
#[expect(
    unreachable_pub,
    reason = "public where it lives; borrowed here so that the bench links nothing of the product"
)]
pub(crate) mod image;
mod interrupt;
mod jobs;
mod load;
mod machine;
mod memory;
mod process;
mod proxy;
mod report;
pub(crate) mod server;
mod services;
mod stats;
mod step;

use std::path::{Path, PathBuf};

use crate::Error;

/// How to run a bench.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Smaller counts.
    pub(crate) quick: bool,
    /// The object on stdout, the table on stderr.
    pub(crate) json: bool,
    /// A server's program that is built already, where the bench can use one.
    pub(crate) updraft: Option<PathBuf>,
    /// Another number of routes or services than the bench's own, where the bench has one.
    pub(crate) count: Option<usize>,
}

struct Bench {
    name: &'static str,
    what: &'static str,
    run: fn(&Path, &Options) -> Result<report::Report, Error>,
}

const BENCHES: &[Bench] = &[
    Bench {
        name: "cold-start",
        what: "client → first byte from zero, beside bare exec and runc",
        run: cold_start::run,
    },
    Bench {
        name: "cold-storm",
        what: "starts from zero per second on many services, beside two loops of runc; and what they leave",
        run: cold_storm::run,
    },
    Bench {
        name: "density",
        what: "many services at zero beside ten: memory, the API, routes, the server's start",
        run: density::run,
    },
    Bench {
        name: "jobs",
        what: "no-op tasks beside xargs with runc and xargs alone; and a warm service beside tasks",
        run: jobs::run,
    },
    Bench {
        name: "proxy",
        what: "the front door beside nginx, HAProxy and Caddy on one backend, with 1, 100 and 10,000 routes",
        run: proxy::run,
    },
    Bench {
        name: "step",
        what: "from one request to a hundred at once on a service that sleeps, beside the app's own start",
        run: step::run,
    },
];

/// Runs the bench `name`, or lists what there is.
pub(crate) fn run(root: &Path, name: Option<&str>, options: &Options) -> Result<(), Error> {
    let Some(name) = name else {
        for bench in BENCHES {
            println!("{:<14}{}", bench.name, bench.what);
        }
        return Ok(());
    };
    let bench = BENCHES
        .iter()
        .find(|bench| bench.name == name)
        .ok_or_else(|| format!("there is no bench '{name}'; `cargo xtask bench` lists them"))?;
    interrupt::watch()?;
    let report = (bench.run)(root, options)?;
    if options.json {
        eprint!("{}", report.table());
        println!("{}", report.json(bench.name)?);
    } else {
        print!("{}", report.table());
    }
    Ok(())
}
