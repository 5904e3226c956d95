//! `keepsake`, the operator's and the break-glass tool: the same steps as the functions, without Lambda or catalog.

mod arguments;
mod backup;
mod backup_summary;
mod byte_size;
mod capture;
mod capturing;
mod catalog;
mod certificate;
mod connection;
mod context;
mod coverage;
mod differential;
mod environment;
mod failure;
mod govern;
mod held_snapshot;
mod keygen;
mod keys;
mod list;
mod measures;
mod places;
mod private_file;
mod protect;
mod recovery_shown;
mod replicate;
mod restore;
mod restore_changes;
mod restore_plan;
mod rpo;
mod scratch;
mod secret_text;
mod show;
mod signals;
mod standing;
mod terminal;
mod text;
mod unprotect;
mod verify;
mod verify_changes;
mod window;
mod window_shown;
mod without_catalog;

use arguments::{Command, CommandLine};
use clap::Parser;
use clap::error::ErrorKind;
use context::Context;
use environment::Environment;
use failure::Failure;
use signals::unless_interrupted;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Threads that still compress for a run that failed get this long to notice it.
const WIND_DOWN: Duration = Duration::from_secs(2);

const ENDPOINT: &str = "AWS_ENDPOINT_URL_S3";

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| terminal::note(&format!("error: a bug in keepsake: {panic}"))));
    let command_line = match CommandLine::try_parse() {
        Ok(command_line) => command_line,
        Err(error) => return ended_by_parser(&error),
    };
    let environment = Environment::read(std::env::vars_os());
    let outcome = with_endpoint(&command_line, &environment).and_then(|()| run(command_line, environment));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            terminal::note(&failure.report());
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Help and version go to standard output. A wrong command line is told like every failure, without what looks like a
/// credential in it.
fn ended_by_parser(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        terminal::print(&secret_text::redact(&error.to_string()));
        return ExitCode::SUCCESS;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        terminal::note(&error.to_string());
    }
    let failure = wrong_command_line(error);
    terminal::note(&failure.report());
    ExitCode::from(failure.exit_code())
}

/// The parser's error begins with what is wrong and its own tips, then repeats the usage, which `--help` shows too.
fn wrong_command_line(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let told = text.split("\nUsage:").next().unwrap_or_default();
    let told = told.split("\nFor more information").next().unwrap_or_default();
    let told = told.trim().trim_start_matches("error: ");
    match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Failure::usage("no command was given", "give one of the commands above")
        }
        ErrorKind::MissingRequiredArgument if told.contains("--recipient") => Failure::usage(
            told,
            "draw a key with keepsake keygen --out recovery.key and give what it prints by --recipient, or give \
             --kms-key; keepsake backup --help shows the rest",
        ),
        _ => Failure::usage(told, "see --help after the command"),
    }
}

/// The AWS SDK reads its endpoint from the environment alone, so the option starts this program again with it.
fn with_endpoint(command_line: &CommandLine, environment: &Environment) -> Result<(), Failure> {
    let Some(url) = command_line.endpoint_url.as_deref() else { return Ok(()) };
    if environment.get(ENDPOINT) == Some(url) {
        return Ok(());
    }
    let program = std::env::current_exe().unwrap_or_else(|_| "keepsake".into());
    let cause =
        std::process::Command::new(program).args(std::env::args_os().skip(1)).env(ENDPOINT, url).exec();
    Err(Failure::usage(format!("cannot set the endpoint: {cause}"), format!("set {ENDPOINT} instead")))
}

fn run(command_line: CommandLine, environment: Environment) -> Result<(), Failure> {
    start_logging(command_line.verbose);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|cause| {
        Failure::usage(format!("cannot start: {cause}"), "free memory and threads on this machine")
    })?;
    let context = Context {
        environment,
        places: places::Places::default(),
        clock: Arc::new(without_catalog::SystemClock),
    };
    let outcome = runtime.block_on(dispatch(&context, &command_line.command));
    runtime.shutdown_timeout(WIND_DOWN);
    outcome
}

async fn dispatch(context: &Context, command: &Command) -> Result<(), Failure> {
    let untouched = "nothing was changed";
    match command {
        Command::Backup(arguments) => backup::backup(context, arguments).await,
        Command::Restore(arguments) => restore::restore(context, arguments).await,
        Command::Coverage(arguments) => {
            unless_interrupted(coverage::coverage(context, arguments), untouched).await
        }
        Command::Protect(arguments) => protect::protect(context, arguments).await,
        Command::Capture(arguments) => capture::capture(context, arguments).await,
        Command::Differential(arguments) => differential::differential(context, arguments).await,
        Command::Window(arguments) => unless_interrupted(window::window(context, arguments), untouched).await,
        Command::Unprotect(arguments) => {
            let at_risk = "what was removed until now is gone from the source; the repository is untouched";
            unless_interrupted(unprotect::unprotect(context, arguments), at_risk).await
        }
        Command::List(arguments) => unless_interrupted(list::list(context, arguments), untouched).await,
        Command::Show(arguments) => unless_interrupted(show::show(context, arguments), untouched).await,
        Command::Verify(arguments) => unless_interrupted(verify::verify(context, arguments), untouched).await,
        Command::Replicate(arguments) => replicate::replicate(context, arguments).await,
        Command::Rpo(arguments) => unless_interrupted(rpo::rpo(context, arguments), untouched).await,
        Command::Govern(arguments) => govern::govern(context, arguments).await,
        Command::Keygen(arguments) => keygen::keygen(context, arguments),
        Command::Catalog(command) => {
            let at_risk = "the catalog may have changed; each change is whole";
            unless_interrupted(catalog::catalog(context, command), at_risk).await
        }
    }
}

/// Our own crates only: what drivers log can carry what they were given.
fn start_logging(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let ours = [
        "keepsake",
        "keepsake_steps",
        "keepsake_archive",
        "keepsake_postgres",
        "keepsake_aws",
        "keepsake_folder",
    ];
    let filter: Vec<String> = ours.iter().map(|name| format!("{name}={level}")).collect();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter.join(",")))
        .with_writer(std::io::stderr)
        .init();
}
