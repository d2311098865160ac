//! What we are compared with: runc by itself, and docker or podman where one works.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use rustix::{process::Pid, thread::LinkNameSpaceType};
use serde_json::json;

use super::{App, PATIENCE, clock::now, first_byte, request};
use crate::{Error, test};

const PORT: u16 = 8080;

/// runc with a bundle for each application: the namespaces that `runc spec` writes, the network's among them.
pub(crate) struct Runc {
    dir: PathBuf,
}

/// docker or podman.
pub(crate) struct Tool {
    /// Which.
    pub(crate) name: &'static str,
}

// === impl Runc ===

impl Runc {
    pub(crate) fn install(dir: &Path, apps: &[App]) -> Result<Self, Error> {
        if test::which("runc").is_none() {
            let mut install = Command::new("apt-get");
            test::command(install.args(["install", "-y", "-qq", "--no-install-recommends", "runc"]))?;
        }
        // Containers that end are ours to wait for, and to count the CPU of.
        rustix::process::set_child_subreaper(Pid::from_raw(1))?;
        let this = Self { dir: dir.join("runc") };
        for app in apps {
            let bundle = this.bundle(app);
            fs::create_dir_all(&bundle)?;
            test::command(Command::new("runc").arg("spec").arg("--bundle").arg(&bundle))?;
            let config = bundle.join("config.json");
            let mut spec: serde_json::Value = serde_json::from_slice(&fs::read(&config)?)?;
            spec["process"]["args"] = json!(app.argv);
            spec["process"]["terminal"] = json!(false);
            spec["process"]["env"] = json!([format!("PORT={PORT}")]);
            spec["root"]["path"] = json!(app.root);
            fs::write(&config, serde_json::to_vec(&spec)?)?;
        }
        Ok(this)
    }

    /// With its own record of containers: this machine may have others.
    fn runc(&self) -> Command {
        let mut runc = Command::new("runc");
        runc.arg("--root").arg(self.dir.join("state"));
        runc
    }

    fn bundle(&self, app: &App) -> PathBuf {
        self.dir.join(app.name)
    }

    /// What runs one container of the application until it ends. Its name is the last argument, and is still to come.
    pub(crate) fn line(&self, app: &App) -> Vec<OsString> {
        let mut run = self.runc();
        run.arg("run").arg("--bundle").arg(self.bundle(app));
        std::iter::once(run.get_program()).chain(run.get_args()).map(OsStr::to_owned).collect()
    }

    /// From nothing to the first byte; then the container is removed.
    pub(crate) fn start(&self, app: &App, round: usize) -> Result<Duration, Error> {
        let id = format!("updraft-bench-{}-{}-{round}", std::process::id(), app.name);
        let pid_file = self.dir.join("pid");
        let mut container = None;
        let taken = first_byte(|| {
            let mut run = self.runc();
            run.args(["run", "--detach", "--bundle"]).arg(self.bundle(app)).arg("--pid-file").arg(&pid_file).arg(&id);
            test::command(run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))?;
            let pid: i32 = fs::read_to_string(&pid_file)?.trim().parse()?;
            container = Pid::from_raw(pid);
            inside(pid, || ask(PORT))
        });
        test::command(self.runc().args(["delete", "--force", &id]))?;
        if let Some(pid) = container {
            rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty())?;
        }
        taken
    }
}

/// Does something in the network of the process `pid`, in a thread that goes there.
fn inside<T: Send>(pid: i32, work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    let namespace = fs::File::open(format!("/proc/{pid}/ns/net"))?;
    let there = || {
        rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        work()
    };
    std::thread::scope(|scope| scope.spawn(there).join()).map_err(|_| "the thread in the namespace failed")?
}

/// Connects as soon as somebody listens, asked every 0.1 ms, and asks.
fn ask(port: u16) -> Result<TcpStream, Error> {
    let deadline = now() + PATIENCE;
    loop {
        match TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))) {
            Ok(stream) => return request(stream, "localhost"),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused && now() < deadline => {
                std::thread::sleep(Duration::from_micros(100));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

// === impl Tool ===

impl Tool {
    /// The first that works here, with the applications' images in it. One that does not is not a failure: daemons are
    /// not started for a bench.
    pub(crate) fn find(dir: &Path, apps: &[App]) -> Option<Self> {
        ["docker", "podman"].into_iter().find_map(|name| {
            let tool = Self { name };
            let works = apps.iter().all(|app| tool.prepare(dir, app).is_ok());
            works.then_some(tool)
        })
    }

    fn prepare(&self, dir: &Path, app: &App) -> Result<(), Error> {
        test::which(self.name).ok_or("not installed")?;
        quietly(Command::new(self.name).arg("info"))?;
        let archive = dir.join("tool.tar");
        fs::write(&archive, app.archive(&Self::image(app))?)?;
        let loaded = quietly(Command::new(self.name).arg("load").arg("-i").arg(&archive));
        fs::remove_file(&archive)?;
        loaded?;
        self.start(app).map(drop)
    }

    fn image(app: &App) -> String {
        format!("localhost/updraft-bench-{}:latest", app.name)
    }

    /// From nothing to the first byte; then the container is removed.
    pub(crate) fn start(&self, app: &App) -> Result<Duration, Error> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let name = format!("updraft-bench-{}", std::process::id());
        let started = now();
        let mut run = Command::new(self.name);
        run.args(["run", "--detach", "--name", &name, "--env", &format!("PORT={PORT}")]);
        run.args(["--publish", &format!("127.0.0.1:{port}:{PORT}")]).arg(Self::image(app));
        let ran = quietly(&mut run);
        // Its own proxy may take a connection that the application does not answer yet.
        let answered = ran.and_then(|()| {
            loop {
                match first_byte(|| request(TcpStream::connect((Ipv4Addr::LOCALHOST, port))?, "localhost")) {
                    Ok(_) => return Ok(started.elapsed()),
                    Err(error) if started.elapsed() > PATIENCE => return Err(error),
                    Err(_) => std::thread::sleep(Duration::from_micros(100)),
                }
            }
        });
        quietly(Command::new(self.name).args(["rm", "--force", &name]))?;
        answered
    }

    pub(crate) fn remove(&self, apps: &[App]) {
        for app in apps {
            // Somebody may have removed it by hand.
            let _ = quietly(Command::new(self.name).args(["rmi", "--force", &Self::image(app)]));
        }
    }
}

fn quietly(command: &mut Command) -> Result<(), Error> {
    test::command(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
}
