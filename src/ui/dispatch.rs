//! From a key press to the action that its binding has here and now.

use crokey::KeyCombination;
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::action::{Action, Edit, ViewAction};
use super::keymap::binding::Binding;
use super::keymap::table::TABLE;
use super::state::UiState;
use crate::command::Command;
use crate::snapshot::ChainSnapshot;

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
    TABLE.iter().enumerate().filter(move |(_, binding)| here(binding) && state.meets(binding.when, chain))
}

/// A character to be typed. Some keyboards type characters with `AltGr`, which arrives as Ctrl and Alt together.
fn typed(key: KeyEvent) -> Option<Action> {
    let KeyCode::Char(c) = key.code else { return None };
    let both = |modifier| key.modifiers.contains(modifier);
    let plain = both(KeyModifiers::CONTROL) == both(KeyModifiers::ALT);
    (plain && !c.is_control()).then_some(Action::View(ViewAction::Edit(Edit::Insert(c))))
}
