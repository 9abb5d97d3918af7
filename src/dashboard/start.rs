//! Which chain to show: that of the input file, or the one that the user chooses on the start screen.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::memory::{Memory, RecentChain};
use super::setup::{quit_on_signal, runtime, screen_options};
use crate::cli::{DEFAULT_INPUT, FetchPlan, NodePlan, OutputOptions};
use crate::console::flush;
use crate::console::signals::Signals;
use crate::error::{Error, KeptBytes, shown};
use crate::plan::ChainPlan;
use crate::ui::start::{self, StartChoice, StartEntry, StartState};
use crate::ui::{self, Keymap, ScreenStop};

/// Options of the plan of a chain.
pub struct ChainOptions<'a> {
    /// Fetch options.
    pub fetch: &'a FetchPlan,
    /// Options of started nodes.
    pub nodes: &'a NodePlan,
    /// Start no nodes.
    pub no_spawn: bool,
}

/// Returns the plan of an input file. Without one, and without the default one, the user chooses on the start screen if
/// `terminal` is true, and gets the demo if not; `None` if the user quit.
///
/// # Errors
/// As for `ChainPlan::of_file`, and `Error::Interrupted` if a signal ends the start screen.
pub fn plan(
    input: Option<&Path>,
    options: &ChainOptions<'_>,
    terminal: Option<&OutputOptions>,
) -> Result<Option<ChainPlan>, Error> {
    match terminal {
        Some(output) if input.is_none() && !Path::new(DEFAULT_INPUT).exists() => choose(options, output),
        _ => ChainPlan::of_input(input, options.fetch, options.nodes, options.no_spawn).map(Some),
    }
}

/// Shows the start screen until the user quits or chooses a chain that can be opened.
fn choose(options: &ChainOptions<'_>, output: &OutputOptions) -> Result<Option<ChainPlan>, Error> {
    flush();
    let memory = Memory::of_user();
    let chains = memory.recent().0;
    let (screen, _) = screen_options(output, Keymap::default(), memory.preferences().0)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let entry = |chain: &RecentChain| StartEntry { path: shown(&chain.path), age: age(now.saturating_sub(chain.used)) };
    let state = StartState::new(ui::theme_of(&screen), chains.iter().map(entry).collect());
    // The panic hook of the dashboard comes later; until then a panic ends the program after the terminal is restored.
    ui::install_panic_hook(|_| {});
    let runtime = runtime()?;
    let stop = ScreenStop::default();
    let entered = runtime.enter();
    let signals = Signals::new()?;
    drop(entered);
    runtime.spawn(quit_on_signal(signals, stop.clone(), None));
    let of_file = |path| ChainPlan::of_file(path, options.fetch, options.nodes, options.no_spawn);
    let chosen = start::choose(&screen, state, &stop, |choice| {
        let plan = match choice {
            StartChoice::Quit => return Ok(None),
            StartChoice::Demo => ChainPlan::tour(options.fetch, options.nodes),
            StartChoice::Chain(at) => of_file(chains.get(at).map_or(Path::new(DEFAULT_INPUT), |chain| &chain.path)),
        };
        plan.map(Some).map_err(|error| error.to_string())
    });
    runtime.shutdown_background();
    match chosen {
        Ok(Some(plan)) => Ok(plan),
        Ok(None) => Err(Error::Interrupted { kept: KeptBytes::default() }),
        Err(error) => Err(Error::Other(error.to_string())),
    }
}

/// Formats how long ago something was, in whole units.
fn age(seconds: u64) -> String {
    match seconds {
        0..60 => "just now".to_owned(),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86_400 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_in_whole_units() {
        let shown: Vec<_> = [0, 59, 60, 3599, 3600, 86_399, 86_400, 40 * 86_400].map(age).to_vec();
        let expected =
            ["just now", "just now", "1 min ago", "59 min ago", "1 h ago", "23 h ago", "1 d ago", "40 d ago"];
        assert_eq!(shown, expected);
    }
}
