//! Which key does what: the one table of bindings with the keys a person chose. Dispatch, footer, help and palette all
//! read it, so none of them can promise a key that another does not know.

mod custom;
pub(crate) mod table;

use crokey::{KeyCombination, KeyCombinationFormat, OneToThree};
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::action::{Action, Edit, ViewAction};
use super::focus::Set;
use super::state::UiState;
use crate::command::Command;
use crate::snapshot::ChainSnapshot;
use table::TABLE;

/// What a key is about; the help is sorted by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Moving about and looking.
    Look,
    /// Fetching, and transfers.
    Transfers,
    /// Nodes and their connections.
    Nodes,
    /// The program.
    Program,
    /// A line being typed.
    Line,
    /// What lies over the screen.
    Over,
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
    /// What the configuration file calls it.
    pub id: &'static str,
    /// The modes it belongs to.
    pub modes: Set,
    /// The panels that have it while they have the keys.
    pub panels: Set,
    /// Its keys, any of which will do, unless the person chose others.
    pub keys: &'static [&'static str],
    /// What it is about.
    pub topic: Topic,
    /// What it does, in words.
    pub help: &'static str,
    /// Where the footer shows it.
    pub place: Place,
    /// It would do something now.
    pub applies: fn(&UiState, &ChainSnapshot) -> bool,
    /// What it means.
    pub action: Action,
}

/// The keys of every binding, in the order of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keymap {
    keys: Vec<Vec<KeyCombination>>,
}

impl Default for Keymap {
    fn default() -> Self {
        let keys = |binding: &Binding| binding.keys.iter().filter_map(|name| parse(name)).collect();
        Self { keys: TABLE.iter().map(keys).collect() }
    }
}

impl Keymap {
    /// The name of a binding's first key; empty where it has none.
    pub fn name(&self, index: usize) -> String {
        self.keys.get(index).and_then(|keys| keys.first()).map_or_else(String::new, |key| name(*key))
    }

    /// The names of all of a binding's keys.
    pub fn names(&self, index: usize) -> Vec<String> {
        self.keys.get(index).into_iter().flatten().map(|key| name(*key)).collect()
    }

    /// The name of the first key with this meaning.
    pub fn key_of(&self, action: Action) -> String {
        TABLE.iter().position(|binding| binding.action == action).map_or_else(String::new, |index| self.name(index))
    }

    fn has(&self, index: usize, key: KeyCombination) -> bool {
        self.keys.get(index).is_some_and(|keys| keys.contains(&key))
    }
}

/// The binding of a key, if it has one here and would do something.
pub fn find(state: &UiState, chain: &ChainSnapshot, key: KeyEvent) -> Option<Action> {
    let key = KeyCombination::from(KeyEvent::new(key.code, key.modifiers));
    live(state, chain).find(|(index, _)| state.keymap.has(*index, key)).map(|(_, binding)| binding.action)
}

/// Takes one key press; what it asks of the chain is returned.
pub fn press(state: &mut UiState, chain: &ChainSnapshot, key: KeyEvent) -> Option<Command> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let action = find(state, chain, key).or_else(|| typed(key).filter(|_| state.mode.line().is_some()))?;
    state.apply(action, chain)
}

/// Takes pasted text; only a line being typed wants it, and of it only what can be part of one line.
pub fn paste(state: &mut UiState, chain: &ChainSnapshot, text: &str) {
    if state.mode.line().is_some() {
        for c in text.chars().filter(|c| !c.is_control()) {
            state.apply(Action::View(ViewAction::Edit(Edit::Insert(c))), chain);
        }
    }
}

/// The bindings that would do something now, with their places in the table, in its order.
pub fn live<'a>(state: &'a UiState, chain: &'a ChainSnapshot) -> impl Iterator<Item = (usize, &'static Binding)> + 'a {
    let (mode, panel) = (state.mode.bit(), state.focus().bit());
    let here = move |binding: &Binding| binding.modes & mode != 0 && binding.panels & panel != 0;
    TABLE.iter().enumerate().filter(move |(_, binding)| here(binding) && (binding.applies)(state, chain))
}

/// A character to be typed. Some keyboards type characters with `AltGr`, which arrives as Ctrl and Alt together.
fn typed(key: KeyEvent) -> Option<Action> {
    let KeyCode::Char(c) = key.code else { return None };
    let both = |modifier| key.modifiers.contains(modifier);
    let plain = both(KeyModifiers::CONTROL) == both(KeyModifiers::ALT);
    (plain && !c.is_control()).then_some(Action::View(ViewAction::Edit(Edit::Insert(c))))
}

/// Reads the name of one key: a character as it is typed, or `enter`, `ctrl-l`, `f1`, `shift-tab`.
fn parse(text: &str) -> Option<KeyCombination> {
    let mut chars = text.chars();
    let key = match (chars.next(), chars.next()) {
        (Some(c), None) => KeyCombination::from(KeyCode::Char(c)),
        _ if text.eq_ignore_ascii_case("shift-tab") => crokey::parse("backtab").ok()?,
        _ => crokey::parse(text).ok()?,
    };
    key.is_ansi_compatible().then(|| key.normalized())
}

/// What people call a key.
fn name(key: KeyCombination) -> String {
    match (key.codes, key.modifiers) {
        (OneToThree::One(KeyCode::Char(c)), KeyModifiers::NONE | KeyModifiers::SHIFT) if c != ' ' => c.to_string(),
        (OneToThree::One(KeyCode::BackTab), _) => "shift-tab".to_owned(),
        (OneToThree::One(KeyCode::PageUp), KeyModifiers::NONE) => "pgup".to_owned(),
        (OneToThree::One(KeyCode::PageDown), KeyModifiers::NONE) => "pgdn".to_owned(),
        _ => KeyCombinationFormat::default().to_string(key).to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_key_has_a_name_that_can_be_read_back() {
        for (index, binding) in TABLE.iter().enumerate() {
            let keys = &Keymap::default().keys[index];
            assert_eq!(keys.len(), binding.keys.len(), "{}: {:?}", binding.id, binding.keys);
            for key in keys {
                assert_eq!(parse(&name(*key).replace("pgup", "pageup").replace("pgdn", "pagedown")), Some(*key));
            }
        }
    }

    #[test]
    fn keys_arrive_in_more_than_one_form() {
        let event = |code, modifiers| KeyCombination::from(KeyEvent::new(code, modifiers));
        assert_eq!(parse("G"), Some(event(KeyCode::Char('G'), KeyModifiers::NONE)));
        assert_eq!(parse("G"), Some(event(KeyCode::Char('G'), KeyModifiers::SHIFT)));
        assert_eq!(parse("shift-tab"), Some(event(KeyCode::BackTab, KeyModifiers::SHIFT)));
        assert_eq!(parse("ü").map(name).as_deref(), Some("ü"));
        assert_eq!((parse("a-b"), parse(""), parse("hyper-x")), (None, None, None));
    }
}
