//! The chainview program: parses the command line, runs the mode, and converts an error into an exit code.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use chainview::cli::{self, EarlyExit, OutputOptions, RunMode};
use chainview::console::{self, signals::Termination};
use chainview::dashboard::{self, ChainOptions};
use chainview::error::{Error, OK};
use chainview::headless;
use chainview::plan::ChainPlan;

/// The reason is given in Cargo.toml.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let invocation = match cli::read() {
        Ok(invocation) => invocation,
        Err(EarlyExit::Clap(error)) => {
            return match explain(&error) {
                Ok(()) => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1)),
                Err(error) => end(Err(error)),
            };
        }
        Err(EarlyExit::Error(error)) => return end(Err(error)),
    };
    let output = &invocation.output;
    for name in invocation.ignored.iter().filter(|_| !output.quiet) {
        console::err(&format!("chainview: {name} is not a setting; ignored"));
    }
    end(match &invocation.mode {
        RunMode::Node { listeners, nodes, until_stdin_closes } => {
            headless::nodes(listeners, nodes, *until_stdin_closes, output)
        }
        RunMode::Fetch { inputs, fetch } => headless::fetch(inputs, fetch, output),
        RunMode::Spawn { input, fetch, nodes } => {
            ChainPlan::of_file(input, fetch, nodes, false).and_then(|plan| headless::plain(plan, output))
        }
        RunMode::AuditSummary { file } => headless::audit_summary(file),
        RunMode::Check { input, fetch } => headless::check(input, fetch, output),
        RunMode::NewKey { file } => headless::new_key(file),
        RunMode::Dashboard { input, fetch, nodes, no_spawn } => {
            let options = ChainOptions { fetch, nodes, no_spawn: *no_spawn };
            match dashboard::plan(input.as_deref(), &options, has_screen(output).then_some(output)) {
                Ok(Some(plan)) => on_screen_or_plain(plan, output),
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            }
        }
        RunMode::Demo { fetch, nodes } => {
            ChainPlan::demo_for(has_screen(output), fetch, nodes).and_then(|plan| on_screen_or_plain(plan, output))
        }
    })
}

/// Runs the dashboard on a terminal, else prints the same run as lines.
fn on_screen_or_plain(plan: ChainPlan, output: &OutputOptions) -> Result<(), Error> {
    if has_screen(output) { dashboard::run(plan, output) } else { headless::plain(plan, output) }
}

/// Returns whether the run has a screen. A terminal with `TERM=dumb` cannot move its cursor.
fn has_screen(output: &OutputOptions) -> bool {
    let draws = std::io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    draws && !output.json
}

/// Prints a message of clap, in colors unless it contains control characters of the arguments.
fn explain(error: &clap::Error) -> Result<(), Error> {
    let safe = cli::safe_lines(error);
    if safe.iter().map(String::as_str).eq(error.render().to_string().lines()) {
        let printed = error.print().and_then(|()| std::io::stdout().flush());
        // Only help and the version go to stdout; a failure to write to stderr cannot be reported.
        if error.use_stderr() { Ok(()) } else { console::written(printed) }
    } else {
        console::err(&safe.join("\n"));
        console::flush();
        Ok(())
    }
}

fn end(result: Result<(), Error>) -> ExitCode {
    let code = match result {
        Ok(()) => OK,
        Err(error) => {
            if !error.is_quiet() {
                console::err(&format!("chainview: {error}"));
            }
            if let (Error::Interrupted { .. }, Some(ending)) = (&error, Termination::caught()) {
                ending.end_process();
            }
            error.exit_code()
        }
    };
    console::flush();
    ExitCode::from(code)
}
