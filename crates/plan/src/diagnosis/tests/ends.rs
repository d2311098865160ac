//! Containers that ended: by their codes, their signals and their last lines.

use super::*;

#[test]
fn an_exit_is_explained_by_its_code_and_by_what_was_written_last() {
    let all = [
        ended(3, &["reading /etc/app.conf", "no such table: users"]),
        ended(1, &[]),
        ended(0, &["bye"]),
        ended(
            127,
            &[
                "/app: error while loading shared libraries: libfoo.so.1: cannot open shared object file: No such file or directory",
            ],
        ),
        ended(127, &["env: 'python3': No such file or directory"]),
        ended(127, &[]),
        ended(126, &["sh: /etc/app.conf: Permission denied"]),
        ended(137, &[]),
        ended(139, &["Segmentation fault"]),
        ended(
            1,
            &[
                "Traceback (most recent call last):",
                "  File \"/app.py\", line 1, in <module>",
                "    import flask",
                "ModuleNotFoundError: No module named 'flask'",
            ],
        ),
        ended(
            1,
            &[
                "Traceback (most recent call last):",
                "  File \"/app.py\", line 7, in <module>",
                "    main()",
                "ValueError: no port",
            ],
        ),
        ended(
            1,
            &[
                "node:internal/modules/cjs/loader:1080",
                "Error: Cannot find module 'express'",
                "  code: 'MODULE_NOT_FOUND'",
                "}",
            ],
        ),
        ended(2, &["panic: no configuration", "", "goroutine 1 [running]:", "main.main()"]),
        ended(101, &["thread 'main' panicked at src/main.rs:3:5:", "no configuration"]),
        ended(1, &["listen tcp :80: bind: permission denied"]),
        ended(1, &["OSError: [Errno 98] Address already in use"]),
        ended(
            1,
            &["psql: error: connection to server at \"localhost\" (127.0.0.1), port 5432 failed: Connection refused"],
        ),
        ended(1, &["mkdir: can't create directory '/sys/x': Read-only file system"]),
        ended(1, &["open /secret: permission denied"]),
        ended(1, &["FileNotFoundError: [Errno 2] No such file or directory: '/etc/app.conf'"]),
        // What was said long before the end is not taken for its reason.
        ended(1, &["warning: open /x: permission denied, going on", "1", "2", "3", "4", "5", "6"]),
    ];
    expect![[r#"
        exited: Container called exit(3). / Its output says more: 'updraft services logs' shows all of it.
        exited: Container called exit(1). It wrote nothing before. / Make it write to standard error why it ends.
        exited-cleanly: Container called exit(0). It ended by itself and without an error; a service has to stay and listen. / Start the server itself in the foreground, not a script that returns or a daemon.
        shared-library-missing: Container called exit(127). It had written '/app: error while loading shared libraries: libfoo.so.1: cannot open shared object file: No such file or directory': the dynamic loader does not find a shared library. / Put the library into the image, where the loader looks for it (/lib, /usr/lib, LD_LIBRARY_PATH), or link the program statically.
        command-not-found: Container called exit(127). So do shells and env when a command is not there. It had written 'env: 'python3': No such file or directory'. / Put the command into the image, or name it by its whole path.
        command-not-found: Container called exit(127). So do shells and env when a command is not there. / Put the command into the image, or name it by its whole path.
        command-not-executable: Container called exit(126). So do shells when a command is there and cannot be executed. It had written 'sh: /etc/app.conf: Permission denied'. / Make the file executable in the image, and see that it is built for linux/amd64.
        signalled: Container called exit(137). So do shells when signal 9 ended a command (SIGKILL). The platform did not send it, and its limit of memory was not reached. / Its output says more: 'updraft services logs' shows all of it.
        segmentation-fault: Container called exit(139). So do shells when signal 11 ended a command (SIGSEGV). It touched memory that it may not touch, or called abort(), which ends the first process of a container like this. / This is a fault of the program or of a library it uses: run it with a debugger, or with other versions.
        module-missing: Container called exit(1). It had written 'ModuleNotFoundError: No module named 'flask'', which suggests that a module of its language's is not in the image. / Install the module in the image (requirements.txt, package.json, …), and see that the paths are right.
        exception: Container called exit(1). It had written 'ValueError: no port', which suggests that it ended for an exception that nobody caught. / The lines before it say where: 'updraft services logs' shows all of them.
        module-missing: Container called exit(1). It had written 'Error: Cannot find module 'express'', which suggests that a module of its language's is not in the image. / Install the module in the image (requirements.txt, package.json, …), and see that the paths are right.
        exception: Container called exit(2). It had written 'panic: no configuration', which suggests that it ended for an exception that nobody caught. / The lines after it say where: 'updraft services logs' shows all of them.
        exception: Container called exit(101). It had written 'thread 'main' panicked at src/main.rs:3:5: no configuration': nobody caught that. / The lines after it say where: 'updraft services logs' shows all of them.
        port-forbidden: Container called exit(1). It had written 'listen tcp :80: bind: permission denied', which suggests that it may not listen on the port it wants. / Listen on the port that PORT names; others may be for root only.
        port-taken: Container called exit(1). It had written 'OSError: [Errno 98] Address already in use', which suggests that two parts of the container want to listen on one port. / Start one server only, or let the others listen on other ports.
        dependency-unreachable: Container called exit(1). It had written 'psql: error: connection to server at "localhost" (127.0.0.1), port 5432 failed: Connection refused', which suggests that it needs something that it cannot reach. / See that what it connects to is there, and reachable from the container: 127.0.0.1 is the container itself.
        read-only: Container called exit(1). It had written 'mkdir: can't create directory '/sys/x': Read-only file system', which suggests that it writes where nothing can be written. / Let it write below /tmp.
        permission-denied: Container called exit(1). It had written 'open /secret: permission denied', which suggests that its user may not do what it tries. / See to the permissions of its files in the image, or to its USER.
        file-missing: Container called exit(1). It had written 'FileNotFoundError: [Errno 2] No such file or directory: '/etc/app.conf'', which suggests that it needs a file that is not there. / See that the build puts the file into the image, and from which directory it is named.
        exited: Container called exit(1). / Its output says more: 'updraft services logs' shows all of it.
    "#]].assert_eq(&all.concat());
}

#[test]
fn what_a_line_may_not_have_meant_is_not_told_as_proof() {
    let loader = "/app: error while loading shared libraries: libfoo.so.1: cannot open shared object file: No such file or directory";
    let panicked = ["thread 'main' (7) panicked at src/main.rs:3:5:", "no configuration"];
    let trace = [
        "node:internal/modules/cjs/loader:1080",
        "  throw err;",
        "Error: Cannot find module 'express'",
        "Require stack:",
        "- /app/index.js",
        "    at Module._resolveFilename (node:internal/modules/cjs/loader:1077:15)",
        "    at Module._load (node:internal/modules/cjs/loader:922:27)",
        "    at Module.require (node:internal/modules/cjs/loader:1143:19)",
        "  code: 'MODULE_NOT_FOUND'",
        "}",
        "Node.js v18.19.0",
    ];
    let all = [
        // A level below an error is none, and what comes before a fatal word is not the reason.
        ended(
            1,
            &[
                "WARNING: ModuleNotFoundError: No module named 'uvloop', using asyncio",
                "starting",
                "fatal: DATABASE_URL is not set",
            ],
        ),
        ended(1, &[r#"{"level":"info","msg":"getaddrinfo ENOTFOUND db, trying again"}"#, "bye"]),
        ended(1, &["open /var/info: permission denied"]),
        ended(1, &["ModuleNotFoundError: No module named 'uvloop'", "fatal: DATABASE_URL is not set"]),
        ended(1, &["ModuleNotFoundError: No module named 'x'", "1", "2", "3", "4", "5", "6"]),
        ended(1, &trace),
        ended(0, &["sentry: unhandled errors will be reported", "migration done, bye"]),
        ended(1, &["sentry: unhandled errors will be reported", "migration failed, bye"]),
        ended(0, &[loader]),
        ended(0, &panicked),
        ended(127, &[loader]),
        ended(127, &["plugin: skipped", loader, "sh: serve: not found"]),
        ended(1, &[loader]),
        ended(
            127,
            &[
                "Error loading shared library libfoo.so.1: No such file or directory (needed by /app)",
                "Error relocating /app: foo: symbol not found",
            ],
        ),
        ended(127, &["Error relocating /app: foo: symbol not found"]),
        ended(101, &panicked),
        ended(1, &panicked),
        // Another thread's panic does not end a program.
        ended(101, &["thread 'worker' panicked at src/main.rs:3:5:", "no job"]),
        ended(255, &["PHP Fatal error:  Uncaught Error: Class \"App\" not found in /app/index.php:3"]),
        say(Happened::Exited(Exit::Signal(11)), &["ModuleNotFoundError: No module named 'x'"]),
    ];
    expect![[r#"
        exited: Container called exit(1). / Its output says more: 'updraft services logs' shows all of it.
        exited: Container called exit(1). / Its output says more: 'updraft services logs' shows all of it.
        permission-denied: Container called exit(1). It had written 'open /var/info: permission denied', which suggests that its user may not do what it tries. / See to the permissions of its files in the image, or to its USER.
        exited: Container called exit(1). / Its output says more: 'updraft services logs' shows all of it.
        exited: Container called exit(1). / Its output says more: 'updraft services logs' shows all of it.
        module-missing: Container called exit(1). It had written 'Error: Cannot find module 'express'', which suggests that a module of its language's is not in the image. / Install the module in the image (requirements.txt, package.json, …), and see that the paths are right.
        exited-cleanly: Container called exit(0). It ended by itself and without an error; a service has to stay and listen. / Start the server itself in the foreground, not a script that returns or a daemon.
        exited: Container called exit(1). / Its output says more: 'updraft services logs' shows all of it.
        exited-cleanly: Container called exit(0). It ended by itself and without an error; a service has to stay and listen. / Start the server itself in the foreground, not a script that returns or a daemon.
        exited-cleanly: Container called exit(0). It ended by itself and without an error; a service has to stay and listen. / Start the server itself in the foreground, not a script that returns or a daemon.
        shared-library-missing: Container called exit(127). It had written '/app: error while loading shared libraries: libfoo.so.1: cannot open shared object file: No such file or directory': the dynamic loader does not find a shared library. / Put the library into the image, where the loader looks for it (/lib, /usr/lib, LD_LIBRARY_PATH), or link the program statically.
        command-not-found: Container called exit(127). So do shells and env when a command is not there. It had written 'sh: serve: not found'. / Put the command into the image, or name it by its whole path.
        shared-library-missing: Container called exit(1). It had written '/app: error while loading shared libraries: libfoo.so.1: cannot open shared object file: No such file or directory', which suggests that the dynamic loader does not find a shared library. / Put the library into the image, where the loader looks for it (/lib, /usr/lib, LD_LIBRARY_PATH), or link the program statically.
        shared-library-missing: Container called exit(127). It had written 'Error loading shared library libfoo.so.1: No such file or directory (needed by /app)': the dynamic loader does not find a shared library. / Put the library into the image, where the loader looks for it (/lib, /usr/lib, LD_LIBRARY_PATH), or link the program statically.
        shared-library-missing: Container called exit(127). It had written 'Error relocating /app: foo: symbol not found': a shared library is missing, or is not of the version that the program was built for. / Use a base image with the libraries the program was built for, or link it statically.
        exception: Container called exit(101). It had written 'thread 'main' (7) panicked at src/main.rs:3:5: no configuration': nobody caught that. / The lines after it say where: 'updraft services logs' shows all of them.
        exception: Container called exit(1). It had written 'thread 'main' (7) panicked at src/main.rs:3:5: no configuration', which suggests that it ended for an exception that nobody caught. / The lines after it say where: 'updraft services logs' shows all of them.
        exception: Container called exit(101). It had written 'thread 'worker' panicked at src/main.rs:3:5: no job', which suggests that it ended for an exception that nobody caught. / The lines after it say where: 'updraft services logs' shows all of them.
        exception: Container called exit(255). It had written 'PHP Fatal error:  Uncaught Error: Class "App" not found in /app/index.php:3', which suggests that it ended for an exception that nobody caught. / The lines after it say where: 'updraft services logs' shows all of them.
        segmentation-fault: Container terminated on signal 11 (SIGSEGV). It touched memory that it may not touch, or called abort(), which ends the first process of a container like this. / This is a fault of the program or of a library it uses: run it with a debugger, or with other versions.
    "#]].assert_eq(&all.concat());
}

#[test]
fn other_ends_are_told_with_their_figures() {
    let exit = |exit: Exit| say(Happened::Exited(exit), &[]);
    let all = [
        exit(Exit::Signal(4)),
        exit(Exit::Signal(6)),
        exit(Exit::Signal(9)),
        exit(Exit::Signal(11)),
        exit(Exit::Signal(15)),
        exit(Exit::Signal(31)),
        say(Happened::Exited(Exit::Signal(6)), &["terminate called after throwing an instance of 'std::bad_alloc'"]),
        exit(Exit::OutOfMemory { limit: 512 << 20, used: 513 << 20 }),
        exit(Exit::OutOfProcesses { limit: 4096, status: 134 }),
        exit(Exit::Lost),
    ];
    expect![[r#"
        illegal-instruction: Container terminated on signal 4 (SIGILL). It came to an instruction that this processor does not know, or that is meant to stop it. / If it was built for a newer processor (-march=native, x86-64-v3, AVX), build it for plain x86-64.
        aborted: Container terminated on signal 6 (SIGABRT). It gave itself up, as after a failed assertion. / Its output says more: 'updraft services logs' shows all of it.
        signalled: Container terminated on signal 9 (SIGKILL). The platform did not send it, and its limit of memory was not reached. / Its output says more: 'updraft services logs' shows all of it.
        segmentation-fault: Container terminated on signal 11 (SIGSEGV). It touched memory that it may not touch, or called abort(), which ends the first process of a container like this. / This is a fault of the program or of a library it uses: run it with a debugger, or with other versions.
        signalled: Container terminated on signal 15 (SIGTERM). The platform did not send it: something in the container did. / Its output says more: 'updraft services logs' shows all of it.
        system-call-forbidden: Container terminated on signal 31 (SIGSYS). It made a system call that the sandbox forbids. / Find the call with strace, and do without it.
        exception: Container terminated on signal 6 (SIGABRT). It had written 'terminate called after throwing an instance of 'std::bad_alloc'', which suggests that it ended for an exception that nobody caught. / The lines after it say where: 'updraft services logs' shows all of them.
        out-of-memory: Memory limit of 512 MiB exceeded with 513 MiB used. / Consider increasing the memory limit with --memory, see https://cloud.google.com/run/docs/configuring/memory-limits
        out-of-processes: Limit of 4096 processes and threads reached. Container ended with status 134. / Make it start fewer processes and threads.
        instance-lost: The instance was lost with the process that kept it. / This is no fault of the container: the server's own log says what happened. Deploy again.
    "#]].assert_eq(&all.concat());
}

#[test]
fn what_a_shell_could_not_run_is_told_with_everything_that_this_may_mean() {
    let all = [
        // As ash of busybox, dash and bash say it of a file that is not there, and of one whose interpreter or loader is not.
        ended(127, &["sh: /app/x: not found"]),
        ended(127, &["/bin/sh: exec: line 0: /app/x: not found"]),
        ended(127, &["sh: 1: /app/x: not found"]),
        ended(127, &["bash: line 1: /app/x: No such file or directory"]),
        ended(127, &["/entrypoint.sh: line 3: ./x: No such file or directory"]),
        // Here the shell has seen the file.
        ended(127, &["bash: line 1: /app/x: cannot execute: required file not found"]),
        ended(126, &["sh: /app/x: /usr/bin/ruby: bad interpreter: No such file or directory"]),
        ended(126, &["bash: ./x: /bin/sh^M: bad interpreter: No such file or directory"]),
        ended(127, &["/usr/bin/env: \u{2018}python3\\r\u{2019}: No such file or directory"]),
        ended(127, &["env: can't execute 'python3\r': No such file or directory"]),
        // Neither a command nor said by a shell.
        ended(127, &["cat: /etc/app.conf: No such file or directory"]),
        ended(127, &["bash: serve: command not found"]),
    ];
    expect![[r#"
        command-not-found: Container called exit(127). So do shells and env when a command is not there. It had written 'sh: /app/x: not found'. They say the same of '/app/x' when the file itself is not in the image, when the interpreter that its first line names is not (a carriage return at the end of that line counts as part of the name), and when its dynamic loader is not. / See which of these is missing, and put it into the image: the file, the interpreter after its #! (and save the script with Unix line ends), or the C library it was built for (glibc or musl).
        command-not-found: Container called exit(127). So do shells and env when a command is not there. It had written '/bin/sh: exec: line 0: /app/x: not found'. They say the same of '/app/x' when the file itself is not in the image, when the interpreter that its first line names is not (a carriage return at the end of that line counts as part of the name), and when its dynamic loader is not. / See which of these is missing, and put it into the image: the file, the interpreter after its #! (and save the script with Unix line ends), or the C library it was built for (glibc or musl).
        command-not-found: Container called exit(127). So do shells and env when a command is not there. It had written 'sh: 1: /app/x: not found'. They say the same of '/app/x' when the file itself is not in the image, when the interpreter that its first line names is not (a carriage return at the end of that line counts as part of the name), and when its dynamic loader is not. / See which of these is missing, and put it into the image: the file, the interpreter after its #! (and save the script with Unix line ends), or the C library it was built for (glibc or musl).
        command-not-found: Container called exit(127). So do shells and env when a command is not there. It had written 'bash: line 1: /app/x: No such file or directory'. They say the same of '/app/x' when the file itself is not in the image, when the interpreter that its first line names is not (a carriage return at the end of that line counts as part of the name), and when its dynamic loader is not. / See which of these is missing, and put it into the image: the file, the interpreter after its #! (and save the script with Unix line ends), or the C library it was built for (glibc or musl).
        command-not-found: Container called exit(127). So do shells and env when a command is not there. It had written '/entrypoint.sh: line 3: ./x: No such file or directory'. They say the same of './x' when the file itself is not in the image, when the interpreter that its first line names is not (a carriage return at the end of that line counts as part of the name), and when its dynamic loader is not. / See which of these is missing, and put it into the image: the file, the interpreter after its #! (and save the script with Unix line ends), or the C library it was built for (glibc or musl).
        command-not-executable: Container called exit(127). It had written 'bash: line 1: /app/x: cannot execute: required file not found'. So does bash when '/app/x' is there, but not what it needs: the interpreter that its first line names (a carriage return at the end of that line counts as part of the name), or its dynamic loader. / Put that into the image: the interpreter after its #! (and save the script with Unix line ends), or the C library it was built for (glibc or musl).
        interpreter-missing: Container called exit(126). It had written 'sh: /app/x: /usr/bin/ruby: bad interpreter: No such file or directory', which suggests that what the first line of a script asks for is not in the image. / Put the interpreter into the image, or name one that is there after #!.
        interpreter-carriage-return: Container called exit(126). It had written 'bash: ./x: /bin/sh^M: bad interpreter: No such file or directory', which suggests that the first line of a script ends as on Windows. / Save the script with Unix line ends (dos2unix), and keep Git from changing them (.gitattributes).
        interpreter-carriage-return: Container called exit(127). It had written '/usr/bin/env: ‘python3\r’: No such file or directory', which suggests that the first line of a script ends as on Windows. / Save the script with Unix line ends (dos2unix), and keep Git from changing them (.gitattributes).
        interpreter-carriage-return: Container called exit(127). It had written 'env: can't execute 'python3\r': No such file or directory', which suggests that the first line of a script ends as on Windows. / Save the script with Unix line ends (dos2unix), and keep Git from changing them (.gitattributes).
        command-not-found: Container called exit(127). So do shells and env when a command is not there. It had written 'cat: /etc/app.conf: No such file or directory'. / Put the command into the image, or name it by its whole path.
        command-not-found: Container called exit(127). So do shells and env when a command is not there. It had written 'bash: serve: command not found'. / Put the command into the image, or name it by its whole path.
    "#]].assert_eq(&all.concat());
}

#[test]
fn a_program_of_another_architecture_is_suggested_where_a_shell_took_it_for_a_script() {
    let elf = "/app/x: line 1: \u{7f}ELF\u{2}\u{1}\u{1}\u{fffd}@: not found";
    let all = [
        ended(126, &["dash: 1: /app/x: Exec format error"]),
        ended(126, &["bash: line 1: /app/x: cannot execute binary file: Exec format error"]),
        ended(127, &[elf]),
        ended(2, &[elf, "/app/x: line 2: syntax error: unexpected \"(\""]),
        ended(2, &["/app/x: line 1: syntax error: unexpected \"(\""]),
        ended(2, &["/app/x: 1: Syntax error: word unexpected (expecting \")\")"]),
        ended(1, &["OSError: [Errno 8] Exec format error: '/app/x'"]),
        // Other languages have their own.
        ended(2, &["ERROR:  syntax error at or near \"selct\""]),
    ];
    expect![[r#"
        command-not-executable: Container called exit(126). It had written 'dash: 1: /app/x: Exec format error', which suggests that a program was built for another architecture, or a shell was told to read it as a script. / Build it for linux/amd64, such as with 'docker build --platform linux/amd64', and start it without a shell's name before it.
        command-not-executable: Container called exit(126). It had written 'bash: line 1: /app/x: cannot execute binary file: Exec format error', which suggests that a program was built for another architecture, or a shell was told to read it as a script. / Build it for linux/amd64, such as with 'docker build --platform linux/amd64', and start it without a shell's name before it.
        command-not-executable: Container called exit(127). It had written '/app/x: line 1: \u{7f}ELF\u{2}\u{1}\u{1}�@: not found', which suggests that a program was built for another architecture, or a shell was told to read it as a script. / Build it for linux/amd64, such as with 'docker build --platform linux/amd64', and start it without a shell's name before it.
        command-not-executable: Container called exit(2). It had written '/app/x: line 1: \u{7f}ELF\u{2}\u{1}\u{1}�@: not found', which suggests that a program was built for another architecture, or a shell was told to read it as a script. / Build it for linux/amd64, such as with 'docker build --platform linux/amd64', and start it without a shell's name before it.
        command-not-executable: Container called exit(2). It had written '/app/x: line 1: syntax error: unexpected "("', which suggests that a shell could not read what it was given as a script: a program that was built for another architecture, a script for another shell, or one with a mistake in it. / See that the programs in the image are built for linux/amd64, and that scripts name their shell after #!.
        command-not-executable: Container called exit(2). It had written '/app/x: 1: Syntax error: word unexpected (expecting ")")', which suggests that a shell could not read what it was given as a script: a program that was built for another architecture, a script for another shell, or one with a mistake in it. / See that the programs in the image are built for linux/amd64, and that scripts name their shell after #!.
        command-not-executable: Container called exit(1). It had written 'OSError: [Errno 8] Exec format error: '/app/x'', which suggests that a program was built for another architecture, or a shell was told to read it as a script. / Build it for linux/amd64, such as with 'docker build --platform linux/amd64', and start it without a shell's name before it.
        exited: Container called exit(2). / Its output says more: 'updraft services logs' shows all of it.
    "#]].assert_eq(&all.concat());
}
