//! Dispatch: from a key press to the action of its binding in the current mode and panel.

use crokey::KeyCombination;
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::action::{Action, Edit, ViewAction};
use super::keymap::binding::Binding;
use super::keymap::keys;
use super::keymap::table::TABLE;
use super::state::{Mode, Refusal, UiState};
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
    let action = find(state, chain, key).or_else(|| typed(key).filter(|_| state.mode.line().is_some()));
    // A notice would hide the question whether to quit.
    if action.is_none() && state.mode != Mode::ConfirmQuit {
        let notice = refusal(state, chain, key);
        state.refuse(notice);
    }
    state.apply(action?, chain)
}

/// Returns why a key has no effect: the condition of its binding fails, it acts in other panels, or it has no action.
fn refusal(state: &UiState, chain: &ChainSnapshot, key: KeyEvent) -> String {
    let key = KeyCombination::from(KeyEvent::new(key.code, key.modifiers));
    let name = keys::name(key);
    let own = TABLE
        .iter()
        .enumerate()
        .filter(|(index, binding)| binding.modes & state.mode.bit() != 0 && state.keymap.has(*index, key));
    let refusals = own.filter_map(|(_, binding)| state.refusal(binding, chain));
    // What is missing in this panel is nearer than what the key does in another.
    let nearest = refusals.min_by_key(|refusal| matches!(refusal, Refusal::OtherPanel(_)));
    let help = state.keymap.key_of(Action::View(ViewAction::Help));
    match nearest {
        Some(refusal) => format!("{name}: {refusal}"),
        None => format!("{name} has no action here, {help} lists the keys"),
    }
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
    let here = move |binding: &Binding| binding.modes & state.mode.bit() != 0;
    TABLE.iter().enumerate().filter(move |(_, binding)| here(binding) && state.refusal(binding, chain).is_none())
}

/// Returns the name of the key of an action, if it would act now.
pub(crate) fn key_of(state: &UiState, chain: &ChainSnapshot, action: Action) -> Option<String> {
    let (index, _) = active(state, chain).find(|(_, binding)| binding.action == action)?;
    Some(state.keymap.name(index)).filter(|name| !name.is_empty())
}

/// Returns the insertion of a typed character. `AltGr` of some keyboards arrives as Ctrl and Alt together.
fn typed(key: KeyEvent) -> Option<Action> {
    let KeyCode::Char(c) = key.code else { return None };
    let both = |modifier| key.modifiers.contains(modifier);
    let plain = both(KeyModifiers::CONTROL) == both(KeyModifiers::ALT);
    (plain && !c.is_control()).then_some(Action::View(ViewAction::Edit(Edit::Insert(c))))
}
