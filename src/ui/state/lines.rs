//! Lines being typed: what each asks for, and what becomes of it.

use super::{Mode, UiState};
use crate::command::Command;
use crate::faults::FaultChange;
use crate::route::{FileName, Hop};
use crate::snapshot::{ChainSnapshot, Entry, NodeSnapshot};
use crate::ui::action::Edit;
use crate::ui::edit::LineEdit;
use crate::ui::focus::Panel;
use crate::units::{Bytes, Rate, parse_bytes, parse_time};

/// How a change that is not turned reads.
pub(super) const OFF: &str = "off";

/// What a line is typed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The file to fetch.
    Name,
    /// What the rows of a panel must contain.
    Filter(Panel),
    /// The cap of the transfer with this number.
    Cap(u64),
    /// The node to watch.
    Attach,
    /// The value of a hop's change.
    FaultChange {
        /// The hop, from 1.
        hop: usize,
        /// The change's place in `FAULTS`.
        at: usize,
    },
}

/// A line being typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// What for.
    pub ask: Ask,
    /// The line.
    pub line: LineEdit,
    /// Why the line cannot be taken, since it was last tried.
    pub error: Option<String>,
    /// What counts: the line itself, or an entry of the list that hangs on it.
    at: At,
}

/// Where the mark of a line with a list stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Nobody has moved it: on the entry that fits best.
    Best,
    /// On the line itself.
    Line,
    /// On this entry.
    Row(usize),
}

/// One line of what the origin offers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Offer<'a> {
    /// The folder above.
    Up,
    /// A file or a folder.
    Entry(&'a Entry),
}

impl Prompt {
    /// A line with a first text.
    pub fn new(ask: Ask, text: &str) -> Self {
        let mut line = LineEdit::default();
        text.chars().for_each(|c| line.apply(Edit::Insert(c)));
        Self { ask, line, error: None, at: At::Best }
    }

    /// The question before the line.
    pub fn question(&self) -> String {
        match self.ask {
            Ask::Name => "fetch which file?".to_owned(),
            Ask::Filter(_) => "filter".to_owned(),
            Ask::Cap(number) => format!("rate limit of #{number}, such as 400K or none?"),
            Ask::Attach => "watch which node, HOST PORT?".to_owned(),
            Ask::FaultChange { hop, at } => {
                let change = FAULTS.get(at).map_or("", |change| change.name());
                format!("{change} of hop {hop}?")
            }
        }
    }

    /// What the origin offers under the typed words, while a file is asked for.
    pub fn entries<'a>(&self, chain: &'a ChainSnapshot) -> Vec<Offer<'a>> {
        let (Ask::Name, Some(listing)) = (self.ask, &chain.listing) else { return Vec::new() };
        let typed = self.line.text().to_lowercase();
        let up = (typed.is_empty() && !listing.folder.as_str().is_empty()).then_some(Offer::Up);
        let named = listing.entries.iter().filter(|entry| entry.name.as_str().to_lowercase().contains(&typed));
        up.into_iter().chain(named.map(Offer::Entry)).collect()
    }

    /// The entry that would be taken; without one, the line itself counts.
    pub fn marked(&self, chain: &ChainSnapshot) -> Option<usize> {
        let offers = self.entries(chain);
        match self.at {
            At::Line => None,
            At::Row(at) => (at < offers.len()).then_some(at),
            At::Best => {
                let typed = self.line.text();
                let is_typed = |offer: &Offer<'_>| matches!(offer, Offer::Entry(entry) if shown_name(entry) == typed);
                let is_entry = |offer: &Offer<'_>| matches!(offer, Offer::Entry(_));
                offers.iter().position(is_typed).or_else(|| offers.iter().position(is_entry))
            }
        }
    }

    /// Moves the mark between the line, which counts as row 0, and its list.
    pub(super) fn choose(&mut self, chain: &ChainSnapshot, to: impl Fn(usize) -> usize) {
        let row = self.marked(chain).map_or(0, |at| at + 1);
        let row = to(row).min(self.entries(chain).len());
        self.at = row.checked_sub(1).map_or(At::Line, At::Row);
    }
}

/// An entry's own name, as it is typed.
pub fn shown_name(entry: &Entry) -> &str {
    entry.name.as_str().trim_end_matches('/')
}

impl UiState {
    /// Opens a line.
    pub(super) fn ask(&mut self, ask: Ask, text: &str) {
        self.mode = Mode::Line(Prompt::new(ask, text));
    }

    /// Makes one change to the line being typed.
    pub(super) fn edit(&mut self, edit: Edit) {
        match &mut self.mode {
            Mode::Line(prompt) => {
                prompt.line.apply(edit);
                (prompt.error, prompt.at) = (None, At::Best);
                if let Ask::Filter(panel) = prompt.ask {
                    let text = prompt.line.text();
                    self.lists.set_filter(panel, text);
                }
            }
            Mode::Palette { line, at } => {
                line.apply(edit);
                *at = 0;
            }
            _ => {}
        }
    }

    /// Types the rest of the marked entry's name.
    pub(super) fn complete(&mut self, chain: &ChainSnapshot) {
        let Mode::Line(prompt) = &mut self.mode else { return };
        let Some(Offer::Entry(entry)) = prompt.marked(chain).and_then(|at| prompt.entries(chain).get(at).copied())
        else {
            return;
        };
        *prompt = Prompt::new(prompt.ask, shown_name(entry));
    }

    /// Takes the line, or says why it cannot be taken.
    pub(super) fn submit(&mut self, chain: &ChainSnapshot) -> Option<Command> {
        let Mode::Line(prompt) = &self.mode else { return None };
        let text = prompt.line.text();
        let text = text.trim();
        let taken = match prompt.ask {
            Ask::Filter(_) => Ok(None),
            Ask::Name => match prompt.marked(chain).and_then(|at| prompt.entries(chain).get(at).copied()) {
                Some(offer) => return Some(self.take_offer(offer, chain)),
                None => FileName::new(prompt.line.text().as_bytes())
                    .map_err(|e| e.to_string())
                    .map(|name| Some(Command::FetchName(name))),
            },
            Ask::Cap(number) => rate_or_none(text).map(|rate| Some(Command::CapTransfer { number, rate })),
            Ask::Attach => Hop::parse_line(text).map(|hop| Some(Command::Attach(hop))),
            Ask::FaultChange { hop, at } => {
                FAULTS[at].parse(text).map(|change| Some(Command::SetFault { hop, change }))
            }
        };
        match taken {
            Ok(command) => {
                self.mode = match prompt.ask {
                    Ask::FaultChange { hop, at } => Mode::Faults { hop, at },
                    _ => Mode::Browse,
                };
                command
            }
            Err(reason) => {
                if let Mode::Line(prompt) = &mut self.mode {
                    prompt.error = Some(reason);
                }
                None
            }
        }
    }

    /// Goes into a folder, or fetches a file.
    fn take_offer(&mut self, offer: Offer<'_>, chain: &ChainSnapshot) -> Command {
        let folder = |path: &[u8]| FileName::new(path).ok();
        let command = match offer {
            Offer::Up => {
                let here = chain.listing.as_ref().map_or("", |listing| listing.folder.as_str()).trim_end_matches('/');
                Command::List(folder(here.rsplit_once('/').map_or("", |(above, _)| above).as_bytes()))
            }
            Offer::Entry(entry) => {
                let name = entry.path.clone();
                if entry.is_folder { Command::List(Some(name)) } else { Command::FetchName(name) }
            }
        };
        match command {
            Command::List(_) => self.ask(Ask::Name, ""),
            _ => self.mode = Mode::Browse,
        }
        command
    }
}

/// One change as the panel shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knob {
    /// The cap.
    Limit,
    /// The delay of each reply.
    Delay,
    /// How much the delay varies.
    Jitter,
    /// No more body bytes.
    Stall,
    /// Odd pieces.
    Fragment,
    /// Bodies that break off.
    Truncate,
    /// No files.
    Reject,
}

/// All faults, in the order of the panel.
pub const FAULTS: [Knob; 7] =
    [Knob::Limit, Knob::Delay, Knob::Jitter, Knob::Stall, Knob::Fragment, Knob::Truncate, Knob::Reject];

impl Knob {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Delay => "delay",
            Self::Jitter => "jitter",
            Self::Stall => "stall",
            Self::Fragment => "fragment",
            Self::Truncate => "truncate",
            Self::Reject => "reject",
        }
    }

    /// What it does, in words.
    pub fn help(self) -> &'static str {
        match self {
            Self::Limit => "bytes per second toward the client, such as 400K",
            Self::Delay => "hold each reply back, such as 250ms",
            Self::Jitter => "let the delay vary by up to this much",
            Self::Stall => "send no more body bytes, close nothing",
            Self::Fragment => "send bodies in odd pieces of at most so many bytes",
            Self::Truncate => "break each body off after so many bytes",
            Self::Reject => "refuse every request for a file",
        }
    }

    /// The value a node reports.
    pub fn value(self, node: &NodeSnapshot) -> String {
        let faults = &node.faults;
        let ms = |ms: u64| if ms == 0 { OFF.to_owned() } else { format!("{ms}ms") };
        let on = |on: bool| if on { "on".to_owned() } else { OFF.to_owned() };
        let bytes = |n: Option<u64>| n.map_or_else(|| OFF.to_owned(), |n| Bytes(n).to_string());
        match self {
            Self::Limit => faults.limit.map_or_else(|| OFF.to_owned(), |rate| Rate(rate).to_string()),
            Self::Delay => ms(faults.delay_ms),
            Self::Jitter => ms(faults.jitter_ms),
            Self::Stall => on(faults.stall),
            Self::Fragment => bytes(faults.fragment),
            Self::Truncate => bytes(faults.truncate),
            Self::Reject => on(faults.reject),
        }
    }

    /// The node reports anything but off.
    pub fn is_turned(self, node: &NodeSnapshot) -> bool {
        let mut faults = node.faults;
        faults.set(self.off());
        faults != node.faults
    }

    /// The turn of a change that is on or off; `None` for one that needs a value.
    pub fn toggled(self, node: &NodeSnapshot) -> Option<FaultChange> {
        match self {
            Self::Stall => Some(FaultChange::Stall(!node.faults.stall)),
            Self::Reject => Some(FaultChange::Reject(!node.faults.reject)),
            _ => None,
        }
    }

    /// The turn back to nothing.
    pub fn off(self) -> FaultChange {
        match self {
            Self::Limit => FaultChange::Limit(None),
            Self::Delay => FaultChange::Delay(0),
            Self::Jitter => FaultChange::Jitter(0),
            Self::Stall => FaultChange::Stall(false),
            Self::Fragment => FaultChange::Fragment(None),
            Self::Truncate => FaultChange::Truncate(None),
            Self::Reject => FaultChange::Reject(false),
        }
    }

    /// Reads a typed value.
    fn parse(self, text: &str) -> Result<FaultChange, String> {
        if is_none(text) {
            return Ok(self.off());
        }
        let ms = |text| parse_time(text).map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        match self {
            Self::Limit => parse_bytes(text).map(|rate| FaultChange::Limit(Some(rate))),
            Self::Delay => ms(text).map(FaultChange::Delay),
            Self::Jitter => ms(text).map(FaultChange::Jitter),
            Self::Fragment => parse_bytes(text).map(|most| FaultChange::Fragment(Some(most))),
            Self::Truncate => parse_bytes(text).map(|at| FaultChange::Truncate(Some(at))),
            Self::Stall | Self::Reject => Err("it is on or off".to_owned()),
        }
    }
}

/// A rate, or a word for none.
fn rate_or_none(text: &str) -> Result<Option<u64>, String> {
    if is_none(text) { Ok(None) } else { parse_bytes(text).map(Some) }
}

fn is_none(text: &str) -> bool {
    matches!(text, "" | "0" | "none" | OFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_set_by_its_value_and_not_by_its_display() {
        let mut node = NodeSnapshot::default();
        assert!(FAULTS.iter().all(|change| !change.is_turned(&node)));
        node.faults.set(FaultChange::Delay(250));
        node.faults.set(FaultChange::Truncate(Some(0)));
        let turned: Vec<_> = FAULTS.into_iter().filter(|change| change.is_turned(&node)).collect();
        assert!(matches!(turned[..], [Knob::Delay, Knob::Truncate]), "{turned:?}");
    }
}
