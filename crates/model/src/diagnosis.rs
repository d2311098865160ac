//! Why a revision did not start, as something to be told and stored.
//!
//! What is known is `updraft_plan::diagnosis::Evidence`; what follows from it is decided there.

use std::{borrow::Cow, fmt};

/// What was found out about a start that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// For programs.
    pub code: Code,
    /// What happened, in Google's words where it has some: tools look for them.
    pub sentence: String,
    /// Why, and nothing that the evidence does not show; guesses are worded as such.
    pub cause: String,
    /// What to do.
    pub advice: String,
    /// Everything else that was seen: a fact each.
    pub facts: Vec<String>,
}

macro_rules! codes {
    ($($name:ident $word:literal $about:literal;)*) => {
        /// The kinds of diagnoses. docs/doctor.md has them all.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $about] $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word in the store and in the API. Never change one.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

codes! {
    EntrypointMissing "entrypoint-missing" "The program is not in the image.";
    EntrypointNotInPath "entrypoint-not-in-path" "No directory of `PATH` has the program.";
    EntrypointDirectory "entrypoint-directory" "The program is a directory.";
    EntrypointNotExecutable "entrypoint-not-executable" "The user may not execute the program.";
    EntrypointHidden "entrypoint-hidden" "The user may not enter a directory on the way to the program.";
    EntrypointEmpty "entrypoint-empty" "The program is a file without contents.";
    EntrypointNotAProgram "entrypoint-not-a-program" "Neither an ELF file nor a script with `#!`.";
    EntrypointWrongArchitecture "entrypoint-wrong-architecture" "Built for another processor.";
    EntrypointUnusable "entrypoint-unusable" "The kernel refuses the program for another reason.";
    InterpreterMissing "interpreter-missing" "What the `#!` line names is not in the image.";
    InterpreterCarriageReturn "interpreter-carriage-return" "The `#!` line ends as on Windows.";
    LoaderMissing "loader-missing" "The dynamic loader is not in the image.";
    WorkingDirectory "working-directory" "The working directory cannot be entered.";
    SettingsUnusable "settings-unusable" "A user or another setting that cannot be.";
    OutOfMemory "out-of-memory" "The kernel ended it for its memory.";
    OutOfProcesses "out-of-processes" "It ended after it was refused a process or thread.";
    SharedLibraryMissing "shared-library-missing" "The loader did not find a library.";
    CommandNotFound "command-not-found" "A shell did not find a command.";
    CommandNotExecutable "command-not-executable" "A shell could not execute a command.";
    ModuleMissing "module-missing" "A language's runtime did not find a module.";
    Exception "exception" "An exception or panic that nobody caught.";
    PortForbidden "port-forbidden" "It may not listen on the port it wants.";
    PortTaken "port-taken" "Something in the container listens there already.";
    PermissionDenied "permission-denied" "It may not open something.";
    ReadOnly "read-only" "It writes where nothing can be written.";
    DependencyUnreachable "dependency-unreachable" "Something that it needs does not answer.";
    FileMissing "file-missing" "It needs a file that is not there.";
    ExitedCleanly "exited-cleanly" "It ended with 0.";
    Exited "exited" "It ended with another code.";
    SegmentationFault "segmentation-fault" "It touched memory that is not its own.";
    IllegalInstruction "illegal-instruction" "It uses an instruction that this processor lacks.";
    Aborted "aborted" "It gave itself up.";
    SystemCallForbidden "system-call-forbidden" "The sandbox ended it for a system call.";
    Signalled "signalled" "Another signal ended it.";
    ListensOnOtherPort "listens-on-other-port" "It listens, and not on the port that is asked.";
    ListensOnLoopback "listens-on-loopback" "It listens for itself only.";
    ListensOnOtherAddress "listens-on-other-address" "It listens on an address at which nobody asks.";
    ListensTooLate "listens-too-late" "It listens, but did not when the time was over.";
    ListensOnUdp "listens-on-udp" "It listens for UDP only.";
    ListensOnUnixSocket "listens-on-unix-socket" "It listens on UNIX sockets only.";
    WaitsForConnection "waits-for-connection" "It listens on nothing and waits for another host.";
    StillBusy "still-busy" "It listens on nothing and works.";
    NotListening "not-listening" "It listens on nothing.";
    ProbeWrongPort "probe-wrong-port" "It listens on the container's port; the probe asks another.";
    ProbeNotFound "probe-not-found" "It does not know the probe's path.";
    ProbeHttpStatus "probe-http-status" "It answers the probe with an error.";
    ProbeNoAnswer "probe-no-answer" "It takes connections and does not answer in time.";
    ProbeSpeaksTls "probe-speaks-tls" "It wants TLS, which ends before the container.";
    ProbeSpeaksHttp2 "probe-speaks-http2" "It speaks HTTP/2; the probe HTTP/1.1.";
    ProbeNotHttp "probe-not-http" "It does not answer the probe with HTTP.";
    ProbeGrpcSpeaksHttp1 "probe-grpc-speaks-http1" "It speaks HTTP/1.1; the probe gRPC.";
    ProbeGrpcUnimplemented "probe-grpc-unimplemented" "It has no health service.";
    ProbeGrpcUnknownService "probe-grpc-unknown-service" "Its health service does not know the probe's service.";
    ProbeGrpcNotServing "probe-grpc-not-serving" "Its health service says no.";
    ProbeGrpcStatus "probe-grpc-status" "Its health service fails.";
    ProbeNotGrpc "probe-not-grpc" "It does not answer the probe with gRPC.";
    ImageMissing "image-missing" "The image, its tag or a part of it does not exist.";
    ImageDenied "image-denied" "The registry refused our credentials.";
    ImageForbidden "image-forbidden" "The server fetches nothing from there for its users.";
    ImageWrongArchitecture "image-wrong-architecture" "The image is for other machines.";
    ImageWithoutCommand "image-without-command" "Nobody says what to run.";
    ImageCorrupt "image-corrupt" "A part of the image is not what it should be.";
    ImageUnfit "image-unfit" "The image cannot be run for another reason.";
    ImageTooSlow "image-too-slow" "The image took longer than it may.";
    RegistryUnreachable "registry-unreachable" "The registry does not answer, or breaks off.";
    SecretUnreadable "secret-unreadable" "A secret that it names cannot be read.";
    NoDiskSpace "no-disk-space" "The disk of the host is full.";
    HostRefused "host-refused" "The host refused something.";
    SandboxFailed "sandbox-failed" "The sandbox could not be made.";
    InstanceLost "instance-lost" "The platform lost the instance.";
}

/// What can be wrong with an image before anything of it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageFault {
    /// The image, its tag or a part of it is nowhere to be found.
    Missing,
    /// The registry refused our credentials.
    Denied,
    /// The server fetches nothing from there for its users.
    Forbidden,
    /// It is for other machines.
    Platform,
    /// Neither the image nor the template says what to run.
    NoCommand,
    /// A part of it is not what its digest or its manifest says, or cannot be unpacked.
    Corrupt,
    /// It breaks another rule.
    Unfit,
    /// The registry could not be reached, or broke off.
    Unreachable,
    /// It took longer than it may.
    TooSlow,
}

/// A line of a container's as it may be shown: control characters other than tabs are escaped. They can come from anybody,
/// and a terminal obeys them.
pub fn printable(line: &str) -> Cow<'_, str> {
    let is_obeyed = |letter: char| letter.is_control() && letter != '\t';
    if !line.contains(is_obeyed) {
        return Cow::from(line);
    }
    let mut shown = String::with_capacity(line.len() + 16);
    for letter in line.chars() {
        match letter {
            letter if is_obeyed(letter) => shown.extend(letter.escape_debug()),
            letter => shown.push(letter),
        }
    }
    Cow::from(shown)
}

// === impl Diagnosis ===

/// The text of the condition, without the revision's name and the container's last lines.
impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [&self.sentence, &self.cause, &self.advice].into_iter().filter(|part| !part.is_empty());
        for (index, part) in parts.enumerate() {
            write!(f, "{}{part}", if index == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

// === impl Code ===

impl Code {
    /// The code of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == word)
    }

    /// Is the fault the platform's, so that it says nothing of the container?
    pub fn is_platform(self) -> bool {
        matches!(self, Self::NoDiskSpace | Self::HostRefused | Self::SandboxFailed | Self::InstanceLost)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped_and_nothing_else() {
        assert_eq!(printable("\tat é 'x' \\n"), "\tat é 'x' \\n");
        assert_eq!(printable("\u{1b}[2Jx\r\u{7f}ELF\u{2}\u{9b}\0"), "\\u{1b}[2Jx\\r\\u{7f}ELF\\u{2}\\u{9b}\\0");
    }

    #[test]
    fn every_code_has_a_word_of_its_own() {
        for code in Code::ALL {
            assert_eq!(Code::from_word(code.as_str()), Some(*code));
        }
        assert_eq!(Code::from_word("tired"), None);
    }
}
