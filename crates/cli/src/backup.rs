//! `backup`: the state and the images of the server, in one file.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use futures::StreamExt as _;

use crate::{args::BackupArgs, error::CliError, run::Session};

/// What the server says a backup is.
const KIND: &str = "application/vnd.updraft.backup+zstd";
/// Stands for standard output.
const STDOUT: &str = "-";

/// A file on its way. Dropping it removes what was written.
struct Partial {
    path: PathBuf,
    file: File,
}

/// `backup FILE`.
pub(crate) async fn backup(session: &mut Session<'_>, args: &BackupArgs) -> Result<(), CliError> {
    let is_stdout = args.file.as_os_str() == STDOUT;
    let mut partial = if is_stdout { None } else { Some(Partial::create(&args.file)?) };
    let query: &[_] = if args.with_logs { &[("logs", "true")] } else { &[] };
    let answer = session.client.stream(&["updraft", "v1", "backup"], query).await?;
    let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok());
    if kind != Some(KIND) {
        return Err(CliError::unexpected(format_args!("a backup of type {}", kind.unwrap_or("unknown"))));
    }
    let mut pieces = answer.bytes_stream();
    let mut bytes = 0u64;
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| CliError::failed(format!("the backup broke off: {error}")))?;
        bytes += piece.len() as u64;
        match &mut partial {
            Some(partial) => partial.file.write_all(&piece).map_err(|error| failed(&args.file, &error))?,
            None => session.console.write(&piece)?,
        }
    }
    if let Some(partial) = partial {
        partial.complete(&args.file).map_err(|error| failed(&args.file, &error))?;
        let tenths = bytes / ((1 << 20) / 10);
        let (whole, tenth, file) = (tenths / 10, tenths % 10, args.file.display());
        session.console.say(format_args!("Backed up to [{file}] ({whole}.{tenth} MiB). It holds every secret but the key of `updraft secrets` (docs/secrets.md)."));
    }
    Ok(())
}

// === impl Partial ===

impl Partial {
    /// For the owner alone: a backup holds the token and every variable of every service.
    fn create(target: &Path) -> Result<Self, CliError> {
        let mut name = target.file_name().map_or_else(OsString::new, OsString::from);
        name.push(".partial");
        let path = target.with_file_name(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&path, &error)),
            _ => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        Ok(Self { file: file.map_err(|error| failed(&path, &error))?, path })
    }

    /// Makes it last under its name, replacing what had it.
    fn complete(self, target: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, target)?;
        let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or_else(|| Path::new("."))).and_then(|dir| dir.sync_all())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Gone after it was completed.
        let _ = fs::remove_file(&self.path);
    }
}

fn failed(path: &Path, error: &io::Error) -> CliError {
    CliError::failed(format!("cannot write {}: {error}", path.display()))
}
