//! The one table of keys: what each does in which mode, its words, and when it applies. Dispatch, footer and help
//! all read it, so none of them can promise a key that another does not know.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::action::{Action, Edit};
use super::state::{Mode, Panel, UiState};
use super::view;
use super::widgets::help;
use crate::command::Command;
use crate::snapshot::ChainSnapshot;

/// A mode without what it holds, as the table names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The dashboard itself.
    Browse,
    /// A name is being typed.
    Prompt,
    /// The list of keys is open.
    Help,
}

/// A key, or a family of keys that differ by their character alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chord {
    /// This key alone; shift is part of the character.
    Key(KeyCode),
    /// This letter with Ctrl.
    Ctrl(char),
    /// A digit from 1 to 9.
    Digit,
    /// Any character that can be typed.
    Text,
}

/// Where the footer shows a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At the left, in the order of the table, with this label and its short form.
    Left(&'static str, &'static str),
    /// At the right, where it is shown before all others.
    Right(&'static str),
    /// In the help only.
    Nowhere,
}

/// One line of the table.
#[derive(Clone, Copy)]
pub struct Binding {
    /// The mode it belongs to.
    pub mode: When,
    /// The keys, any of which will do.
    pub keys: &'static [Chord],
    /// The keys as people call them; empty where the line before speaks for this one too.
    pub name: &'static str,
    /// What it does, in words.
    pub help: &'static str,
    /// Where the footer shows it.
    pub place: Place,
    /// It would do something now.
    pub applies: fn(&UiState, &ChainSnapshot) -> bool,
    /// What it means; the character is the one that was typed, for families of keys.
    pub action: fn(char) -> Action,
}

/// The binding of a key, if it has one in this mode and would do something.
pub fn find(state: &UiState, chain: &ChainSnapshot, key: KeyEvent) -> Option<Action> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let typed = if let KeyCode::Char(c) = key.code { c } else { '\0' };
    live(state, chain).find(|binding| binding.keys.iter().any(|chord| chord.is(key))).map(|b| (b.action)(typed))
}

/// Takes one key press; what it asks of the chain is returned.
pub fn press(state: &mut UiState, chain: &ChainSnapshot, key: KeyEvent) -> Option<Command> {
    let action = find(state, chain, key)?;
    state.apply(action, chain)
}

/// Takes pasted text; only a line being typed wants it, and of it only what can be part of one line.
pub fn paste(state: &mut UiState, chain: &ChainSnapshot, text: &str) {
    if matches!(state.mode, Mode::Prompt { .. }) {
        for c in text.chars().filter(|c| !c.is_control()) {
            state.apply(Action::Edit(Edit::Insert(c)), chain);
        }
    }
}

/// The bindings that would do something now, in the order of the table.
pub fn live<'a>(state: &'a UiState, chain: &'a ChainSnapshot) -> impl Iterator<Item = &'static Binding> + 'a {
    let mode = When::of(&state.mode);
    TABLE.iter().filter(move |binding| binding.mode == mode && (binding.applies)(state, chain))
}

impl When {
    /// The table's name for a mode.
    pub fn of(mode: &Mode) -> Self {
        match mode {
            Mode::Browse => Self::Browse,
            Mode::Prompt { .. } => Self::Prompt,
            Mode::Help { .. } => Self::Help,
        }
    }
}

impl Chord {
    /// This key press is meant.
    pub fn is(self, key: KeyEvent) -> bool {
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        let alone = !key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT);
        match self {
            Self::Key(code) => alone && key.code == code,
            Self::Ctrl(letter) => ctrl && key.code == KeyCode::Char(letter),
            Self::Digit => alone && matches!(key.code, KeyCode::Char('1'..='9')),
            // Some keyboards type characters with AltGr, which arrives as Ctrl and Alt together.
            Self::Text => {
                matches!(key.code, KeyCode::Char(c) if !c.is_control() && ctrl == key.modifiers.contains(KeyModifiers::ALT))
            }
        }
    }
}

const fn key(letter: char) -> Chord {
    Chord::Key(KeyCode::Char(letter))
}

const fn bind(
    mode: When,
    keys: &'static [Chord],
    name: &'static str,
    help: &'static str,
    place: Place,
    action: fn(char) -> Action,
) -> Binding {
    Binding { mode, keys, name, help, place, action, applies: |_, _| true }
}

impl Binding {
    const fn when(mut self, applies: fn(&UiState, &ChainSnapshot) -> bool) -> Self {
        self.applies = applies;
        self
    }
}

fn typed(state: &UiState, _: &ChainSnapshot) -> bool {
    matches!(&state.mode, Mode::Prompt { line, .. } if !line.halves().0.is_empty())
}

fn scrolls(state: &UiState, _: &ChainSnapshot) -> bool {
    help::furthest(view::help_area(state.area)) > 0
}

fn rows(state: &UiState, chain: &ChainSnapshot) -> usize {
    match state.panel {
        Panel::Hops => chain.hops.len(),
        Panel::Transfers => chain.transfers.len(),
    }
}

const BROWSE: When = When::Browse;
const PROMPT: When = When::Prompt;
const HELP: When = When::Help;
const UP: Chord = Chord::Key(KeyCode::Up);
const DOWN: Chord = Chord::Key(KeyCode::Down);

/// Every key there is. The order is that of the footer and of the help.
#[rustfmt::skip]
pub static TABLE: &[Binding] = &[
    bind(BROWSE, &[key('f')], "f", "fetch the route's own file", Place::Left("fetch", "fetch"), |_| Action::Fetch)
        .when(|_, chain| !chain.leaving && !chain.hops.is_empty()),
    bind(BROWSE, &[key('n')], "n", "fetch another file over the same hops", Place::Left("fetch a name", "name"),
        |_| Action::AskName).when(|_, chain| !chain.leaving && !chain.hops.is_empty()),
    bind(BROWSE, &[key('x')], "x", "cancel the marked transfer; what has arrived is kept",
        Place::Left("cancel", "cancel"), |_| Action::Cancel)
        .when(|state, chain| !chain.leaving && state.cancellable(chain).is_some()),
    bind(BROWSE, &[key('r')], "r", "stop the marked hop's node and start it anew",
        Place::Left("restart node", "restart"), |_| Action::Restart)
        .when(|state, chain| state.restartable(chain).is_some()),
    bind(BROWSE, &[DOWN, key('j')], "j/k", "one row down, one row up; the arrow keys too",
        Place::Left("select", "select"), |_| Action::Move(1))
        .when(|state, chain| rows(state, chain) > 1),
    bind(BROWSE, &[UP, key('k')], "", "one row up", Place::Nowhere, |_| Action::Move(-1))
        .when(|state, chain| rows(state, chain) > 1),
    bind(BROWSE, &[Chord::Digit], "1-9", "mark the hop with this number", Place::Nowhere,
        |c| Action::SelectHop(c as usize - '0' as usize)).when(|_, chain| chain.hops.len() > 1),
    bind(BROWSE, &[Chord::Key(KeyCode::Home), key('g')], "g/G", "first row, last row", Place::Nowhere, |_| Action::First)
        .when(|state, chain| rows(state, chain) > 1),
    bind(BROWSE, &[Chord::Key(KeyCode::End), key('G')], "", "last row", Place::Nowhere, |_| Action::Last)
        .when(|state, chain| rows(state, chain) > 1),
    bind(BROWSE, &[Chord::Key(KeyCode::Tab), Chord::Key(KeyCode::BackTab)], "tab",
        "move the keys between hops and transfers", Place::Left("hops/transfers", "panel"), |_| Action::NextPanel)
        .when(|state, chain| state.panel == Panel::Transfers || !chain.transfers.is_empty()),
    bind(BROWSE, &[Chord::Ctrl('l')], "ctrl-l", "paint the screen again", Place::Nowhere, |_| Action::Repaint),
    bind(BROWSE, &[Chord::Ctrl('z')], "ctrl-z", "stop until fg; transfers stand still, bg lets them go on unseen",
        Place::Nowhere, |_| Action::Suspend),
    bind(BROWSE, &[Chord::Ctrl('c')], "ctrl-c", "cancel what runs; with nothing running, or again: leave",
        Place::Nowhere, |_| Action::Interrupt),
    bind(BROWSE, &[key('?'), Chord::Key(KeyCode::F(1))], "?", "this list", Place::Right("help"), |_| Action::Help),
    bind(BROWSE, &[key('q')], "q", "leave; nodes that this program started stop", Place::Right("quit"),
        |_| Action::Quit),

    bind(PROMPT, &[Chord::Text], "text", "type the name", Place::Nowhere, |c| Action::Edit(Edit::Insert(c))),
    bind(PROMPT, &[Chord::Key(KeyCode::Enter)], "enter", "fetch this name", Place::Left("fetch", "fetch"),
        |_| Action::Submit),
    bind(PROMPT, &[Chord::Key(KeyCode::Backspace), Chord::Ctrl('h')], "backspace", "delete to the left",
        Place::Nowhere, |_| Action::Edit(Edit::Backspace)),
    bind(PROMPT, &[Chord::Key(KeyCode::Delete), Chord::Ctrl('d')], "delete", "delete to the right",
        Place::Nowhere, |_| Action::Edit(Edit::Delete)),
    bind(PROMPT, &[Chord::Key(KeyCode::Left), Chord::Ctrl('b')], "left", "one character left", Place::Nowhere,
        |_| Action::Edit(Edit::Left)),
    bind(PROMPT, &[Chord::Key(KeyCode::Right), Chord::Ctrl('f')], "right", "one character right", Place::Nowhere,
        |_| Action::Edit(Edit::Right)),
    bind(PROMPT, &[Chord::Key(KeyCode::Home), Chord::Ctrl('a')], "home", "to the start", Place::Nowhere,
        |_| Action::Edit(Edit::Home)),
    bind(PROMPT, &[Chord::Key(KeyCode::End), Chord::Ctrl('e')], "end", "to the end", Place::Nowhere,
        |_| Action::Edit(Edit::End)),
    bind(PROMPT, &[Chord::Ctrl('w')], "ctrl-w", "delete the word before", Place::Left("delete word", "word"),
        |_| Action::Edit(Edit::CutWord)).when(typed),
    bind(PROMPT, &[Chord::Ctrl('u')], "ctrl-u", "delete all before", Place::Left("clear", "clear"),
        |_| Action::Edit(Edit::CutBefore)).when(typed),
    bind(PROMPT, &[Chord::Ctrl('k')], "ctrl-k", "delete all behind", Place::Nowhere,
        |_| Action::Edit(Edit::CutAfter)),
    bind(PROMPT, &[Chord::Ctrl('l')], "ctrl-l", "paint the screen again", Place::Nowhere, |_| Action::Repaint),
    bind(PROMPT, &[Chord::Ctrl('z')], "ctrl-z", "stop until fg", Place::Nowhere, |_| Action::Suspend),
    bind(PROMPT, &[Chord::Key(KeyCode::Esc), Chord::Ctrl('c')], "esc", "do not fetch", Place::Right("back"),
        |_| Action::Close),

    bind(HELP, &[DOWN, key('j')], "j/k", "scroll down, scroll up", Place::Left("scroll", "scroll"), |_| Action::Move(1)).when(scrolls),
    bind(HELP, &[UP, key('k')], "", "scroll up", Place::Nowhere, |_| Action::Move(-1)).when(scrolls),
    bind(HELP, &[Chord::Key(KeyCode::Home), key('g')], "g/G", "to the top, to the bottom", Place::Nowhere, |_| Action::First).when(scrolls),
    bind(HELP, &[Chord::Key(KeyCode::End), key('G')], "", "to the bottom", Place::Nowhere, |_| Action::Last).when(scrolls),
    bind(HELP, &[Chord::Ctrl('l')], "ctrl-l", "paint the screen again", Place::Nowhere, |_| Action::Repaint),
    bind(HELP, &[Chord::Ctrl('z')], "ctrl-z", "stop until fg", Place::Nowhere, |_| Action::Suspend),
    bind(HELP, &[Chord::Key(KeyCode::Esc), key('q'), key('?'), Chord::Key(KeyCode::F(1)), Chord::Ctrl('c')], "esc",
        "close", Place::Right("back"), |_| Action::Close),
];
