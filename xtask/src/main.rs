//! Automation of the workspace: `cargo xtask <tidy|api|test|bench|soak|streams|gcloud>`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

mod api;
mod bench;
mod gcloud;
mod soak;
mod streams;
mod test;
mod tidy;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

/// What went wrong, for people.
type Error = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Automation of the workspace")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Check the structure: floors, sizes, lints, words; and the picture in ARCHITECTURE.md.
    Tidy {
        /// Rewrite what can be rewritten (the picture).
        #[arg(long)]
        fix: bool,
    },
    /// Derive the table of the API's names and numbers from the crates that carry its messages.
    Api {
        /// Only compare it with the committed one.
        #[arg(long)]
        check: bool,
    },
    /// Install what the tests need, then run all of them: the command of the README.
    Test {
        /// Only these steps, by name; see --list.
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
        /// Print the steps and stop.
        #[arg(long)]
        list: bool,
    },
    /// Run the real gcloud against a real server, and compare what it prints and how it exits.
    Gcloud {
        /// The program, or the directory of an SDK.
        #[arg(long, value_name = "PATH")]
        gcloud: PathBuf,
        /// Only the commands of a group (run, accounts), or else those with this in them.
        #[arg(long, value_name = "TEXT")]
        only: Option<String>,
        /// A server's program that is built already.
        #[arg(long, value_name = "PATH")]
        updraft: Option<PathBuf>,
    },
    /// Start and stop instances at random, with kill -9 of everything mixed in, and look for leaks. As root.
    Soak {
        /// How many starts.
        #[arg(long, default_value_t = 20_000)]
        starts: u32,
        /// Repeats the run that printed it.
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Keep streams open over rollouts: WebSockets, and as many calls of gRPC. As root; 4 GiB for 10,000 of each.
    Streams {
        /// How many of each kind.
        #[arg(long, default_value_t = 10_000)]
        streams: u32,
        /// How many rollouts.
        #[arg(long, default_value_t = 20)]
        rollouts: u32,
    },
    /// Measure a promise of SPEC.md beside its peer.
    Bench {
        /// Which; without one, the names are listed.
        name: Option<String>,
        /// Within a minute: smaller counts, the same keys.
        #[arg(long)]
        quick: bool,
        /// One JSON object on one line of stdout, after the table on stderr.
        #[arg(long)]
        json: bool,
        /// A server's program that is built already (not cold-start, which needs another besides).
        #[arg(long, value_name = "PATH")]
        updraft: Option<PathBuf>,
        /// The most routes (proxy), or the services (density), instead of the bench's own number.
        #[arg(long)]
        count: Option<usize>,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Tidy { fix } => tidy::run(&root(), if fix { tidy::Mode::Fix } else { tidy::Mode::Check }),
        Task::Api { check } => api::run(&root(), if check { api::Mode::Check } else { api::Mode::Write }),
        Task::Test { only, list } => test::run(&root(), &test::Choice { only, list }),
        Task::Gcloud { gcloud, only, updraft } => gcloud::run(&root(), &gcloud::Choice { gcloud, only, updraft }),
        Task::Soak { starts, seed } => soak::run(&root(), &soak::Choice { starts, seed }),
        Task::Streams { streams, rollouts } => streams::run(&root(), &streams::Choice { streams, rollouts }),
        Task::Bench { name, quick, json, updraft, count } => {
            bench::run(&root(), name.as_deref(), &bench::Options { quick, json, updraft, count })
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the workspace.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}
