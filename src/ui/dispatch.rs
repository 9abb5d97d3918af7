//! Dispatch: from a key press to the action of its binding in the current mode and panel.

use crokey::KeyCombination;
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::action::{Action, Edit, ViewAction};
use super::keymap::binding::Binding;
use super::keymap::table::TABLE;
use super::state::UiState;
use crate::command::Command;
use crate::snapshot::ChainSnapshot;

/// Returns the action of a key, if it has a binding here whose condition holds.
pub fn find(state: &UiState, chain: &ChainSnapshot, key: KeyEvent) -> Option<Action> {
    let key = KeyCombination::from(KeyEvent::new(key.code, key.modifiers));
    active(state, chain).find(|(index, _)| state.keymap.has(*index, key)).map(|(_, binding)| binding.action)
}

/// Handles one key press; returns the command that it results in.
pub fn press(state: &mut UiState, chain: &ChainSnapshot, key: KeyEvent) -> Option<Command> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let action = find(state, chain, key).or_else(|| typed(key).filter(|_| state.mode.line().is_some()))?;
    state.apply(action, chain)
}

/// Inserts pasted text into the line being typed, if any, without its control characters.
pub fn paste(state: &mut UiState, chain: &ChainSnapshot, text: &str) {
    if state.mode.line().is_some() {
        for c in text.chars().filter(|c| !c.is_control()) {
            state.apply(Action::View(ViewAction::Edit(Edit::Insert(c))), chain);
        }
    }
}

/// Returns the bindings whose conditions hold now, with their indices, in the order of the table.
pub fn active<'a>(
    state: &'a UiState,
    chain: &'a ChainSnapshot,
) -> impl Iterator<Item = (usize, &'static Binding)> + 'a {
    let (mode, panel) = (state.mode.bit(), state.focus().bit());
    let here = move |binding: &Binding| binding.modes & mode != 0 && binding.panels & panel != 0;
    TABLE.iter().enumerate().filter(move |(_, binding)| here(binding) && state.meets(binding.when, chain))
}

/// Returns the insertion of a typed character. `AltGr` of some keyboards arrives as Ctrl and Alt together.
fn typed(key: KeyEvent) -> Option<Action> {
    let KeyCode::Char(c) = key.code else { return None };
    let both = |modifier| key.modifiers.contains(modifier);
    let plain = both(KeyModifiers::CONTROL) == both(KeyModifiers::ALT);
    (plain && !c.is_control()).then_some(Action::View(ViewAction::Edit(Edit::Insert(c))))
}
