//! The chainview program: parse, pick the mode, turn an error into an exit code.

use std::process::ExitCode;

use chainview::cli::{self, Mode, Stop};
use chainview::error::{Error, OK};
use chainview::headless;

fn main() -> ExitCode {
    let invocation = match cli::read() {
        Ok(invocation) => invocation,
        Err(Stop::Clap(error)) => {
            // Help that nobody reads to the end is no failure.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1));
        }
        Err(Stop::Error(error)) => return end(Err(error)),
    };
    let talk = &invocation.talk;
    end(match &invocation.mode {
        Mode::Node { listeners, nodes, until_stdin_closes } => {
            headless::nodes(listeners, nodes, *until_stdin_closes, talk)
        }
        Mode::Fetch { inputs, fetch } => headless::fetch(inputs, fetch, talk),
        Mode::Check { input, fetch } => headless::check(input, fetch, talk),
        Mode::Dashboard { .. } | Mode::Demo { .. } => {
            Err(Error::Other("the dashboard is not part of this build: use --node, --fetch or --check".to_owned()))
        }
    })
}

fn end(result: Result<(), Error>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::from(OK),
        Err(error) => {
            headless::tell(&format!("chainview: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}
