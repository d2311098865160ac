//! The applications that are started: a static server, and what Python and Node say hello with.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Error, bench::image, test};

/// An application, as a program of this host and as the root directory of a container.
#[derive(Debug)]
pub(crate) struct App {
    /// What rows call it.
    pub(crate) name: &'static str,
    /// How it is run on this host.
    pub(crate) host_argv: Vec<String>,
    /// How it is run in a container.
    pub(crate) argv: Vec<String>,
    /// Its files, for a container.
    pub(crate) root: PathBuf,
}

const PYTHON: &str = r#"
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Hello(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"hi\n")

    def log_message(self, *_):
        pass

ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Hello).serve_forever()
"#;

const NODE: &str = r#"
require("http").createServer((_, answer) => answer.end("hi\n")).listen(Number(process.env.PORT), "0.0.0.0");
"#;

/// Beside the standard library, and not a part of it.
const NOT_STANDARD: [&str; 3] = ["site-packages", "dist-packages", "test"];

// === impl App ===

impl App {
    /// The static example, which is built for it. `roots` is a directory for files.
    pub(crate) fn hello(repository: &Path, roots: &Path) -> Result<Self, Error> {
        test::example(repository)?;
        let program = repository.join("target/examples/x86_64-unknown-linux-gnu/release/hello");
        let root = roots.join("static");
        fs::create_dir_all(&root)?;
        fs::copy(&program, root.join("hello"))?;
        Ok(Self { name: "static", host_argv: vec![text(&program)], argv: vec!["/hello".to_owned()], root })
    }

    /// The program of the test images, which does what its arguments say.
    pub(crate) fn witness(repository: &Path, roots: &Path, arguments: &[&str]) -> Result<Self, Error> {
        let root = roots.join("witness");
        fs::create_dir_all(&root)?;
        let program = root.join("witness");
        test::witness(repository, &program)?;
        let with = |program: String| {
            std::iter::once(program).chain(arguments.iter().map(|&argument| argument.to_owned())).collect()
        };
        Ok(Self { name: "witness", host_argv: with(text(&program)), argv: with("/witness".to_owned()), root })
    }

    /// The host's Python with its standard library.
    pub(crate) fn python(roots: &Path) -> Result<Self, Error> {
        // What is on the PATH may be a script that looks for the real one.
        let ask =
            "import os, sys, sysconfig; print(os.path.realpath(sys.executable)); print(sysconfig.get_path('stdlib'))";
        let told = Command::new("python3").args(["-c", ask]).output()?;
        let told = String::from_utf8(told.stdout)?;
        let mut lines = told.lines().map(PathBuf::from);
        let (Some(program), Some(library)) = (lines.next(), lines.next()) else {
            return Err("python3 does not say where it is".into());
        };
        let root = roots.join("python");
        copy_tree(&library, &root)?;
        let modules: Vec<PathBuf> = fs::read_dir(library.join("lib-dynload"))?.flatten().map(|it| it.path()).collect();
        Self::interpreted(("python", "app.py", PYTHON), &program, root, &modules)
    }

    /// The host's Node; `None` where there is none.
    pub(crate) fn node(roots: &Path) -> Result<Option<Self>, Error> {
        let Some(program) = test::which("node") else { return Ok(None) };
        Self::interpreted(("node", "app.js", NODE), &fs::canonicalize(program)?, roots.join("node"), &[]).map(Some)
    }

    fn interpreted(
        (name, file, source): (&'static str, &str, &str),
        program: &Path,
        root: PathBuf,
        modules: &[PathBuf],
    ) -> Result<Self, Error> {
        copy(program, &root)?;
        for one in modules.iter().map(PathBuf::as_path).chain([program]) {
            for library in libraries(one)? {
                copy(&library, &root)?;
            }
        }
        let script = root.join(file);
        fs::write(&script, source)?;
        let program = text(program);
        let (host_argv, argv) = (vec![program.clone(), text(&script)], vec![program, format!("/{file}")]);
        Ok(Self { name, host_argv, argv, root })
    }

    /// An image of it, as `docker save` would write one.
    pub(crate) fn archive(&self, reference: &str) -> Result<Vec<u8>, Error> {
        let mut tar = tar::Builder::new(Vec::new());
        tar.append_dir_all(".", &self.root)?;
        let entrypoint: Vec<&str> = self.argv.iter().map(String::as_str).collect();
        let process = image::Process { entrypoint: &entrypoint, ..image::Process::default() };
        Ok(image::archive_of_layer(reference, &tar.into_inner()?, &process)?)
    }
}

/// The shared libraries that a program or a library needs, the loader among them.
fn libraries(of: &Path) -> Result<Vec<PathBuf>, Error> {
    let listed = Command::new("ldd").arg(of).output()?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    Ok(listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}

fn copy(file: &Path, root: &Path) -> Result<(), Error> {
    let target = root.join(file.strip_prefix("/")?);
    if target.exists() {
        return Ok(());
    }
    fs::create_dir_all(target.parent().unwrap_or(root))?;
    fs::copy(file, &target)?;
    // Python believes what it has compiled only while the source has the time that it had then.
    fs::File::options().write(true).open(&target)?.set_modified(fs::metadata(file)?.modified()?)?;
    Ok(())
}

fn copy_tree(tree: &Path, root: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(tree)?.flatten() {
        let (path, kind) = (entry.path(), entry.file_type()?);
        if NOT_STANDARD.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        if kind.is_dir() {
            copy_tree(&path, root)?;
        } else if path.is_file() {
            copy(&path, root)?;
        }
    }
    Ok(())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
