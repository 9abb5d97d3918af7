//! Footer: the keys of active bindings; help and quit keep their position.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::snapshot::{ChainSnapshot, Phase};
use crate::ui::action::Action;
use crate::ui::dispatch::active;
use crate::ui::focus::{Panel, Set};
use crate::ui::keymap::binding::{Binding, Condition, FooterSlot, Topic};
use crate::ui::keymap::table::TABLE;
use crate::ui::paint::{Row, width};
use crate::ui::state::{Mode, UiState};
use crate::ui::theme::StyleRole;

const GAP: u16 = 2;

/// Key of the footer.
struct FooterKey {
    /// Index of its binding.
    index: usize,
    name: String,
    label: &'static str,
    /// Its first column.
    x: u16,
}

impl FooterKey {
    /// Returns its width, with its label.
    fn columns(&self) -> u16 {
        width(&self.name) + 1 + width(self.label)
    }
}

/// Draws the footer. A notice replaces the keys at the left until the next key.
pub(crate) fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    let theme = &state.theme;
    let mut row = Row::new(buffer, area);
    row.skip(1);
    if let Some(notice) = &state.notice {
        row.put(notice, theme.style(StyleRole::Warn));
    } else if state.mode == Mode::ConfirmQuit {
        row.put(&question(data), theme.style(StyleRole::Warn));
    }
    for key in keys(state, data, area) {
        let place = Rect { x: key.x, width: key.columns(), ..area };
        let mut row = Row::new(buffer, place);
        row.put(&key.name, theme.style(StyleRole::Key)).skip(1).put(key.label, theme.style(StyleRole::Dim));
    }
}

/// Returns the action of the key at this column.
pub(crate) fn action_at(state: &UiState, data: &ChainSnapshot, area: Rect, column: u16) -> Option<Action> {
    let found = keys(state, data, area).into_iter().find(|key| (key.x..key.x + key.columns()).contains(&column))?;
    TABLE.get(found.index).map(|binding| binding.action)
}

/// Returns the keys of the footer with their places.
fn keys(state: &UiState, data: &ChainSnapshot, area: Rect) -> Vec<FooterKey> {
    let (left, mut end) = (area.x + 1, area.right());
    let pinned: Vec<(usize, String, &'static str)> = active(state, data)
        .filter_map(|(index, binding)| match binding.place {
            FooterSlot::Right(label) => Some((index, state.keymap.name(index), label)),
            FooterSlot::Left(..) | FooterSlot::Nowhere => None,
        })
        .collect();
    let needed: u16 = pinned.iter().map(|(_, name, label)| GAP + width(name) + 1 + width(label)).sum();
    let notice = state.notice.as_deref();
    let mut keys = Vec::new();
    // A notice that needs the whole row covers the keys at the right.
    if notice.is_none_or(|notice| width(notice) + needed < end.saturating_sub(left)) {
        end = end.saturating_sub(1);
        for (index, name, label) in pinned.into_iter().rev() {
            let key = FooterKey { index, name, label, x: 0 };
            if key.columns() + GAP > end.saturating_sub(left) {
                continue;
            }
            end -= key.columns();
            keys.push(FooterKey { x: end, ..key });
            end -= GAP;
        }
    }
    if notice.is_some() {
        return keys;
    }
    let mut x = left + if state.mode == Mode::ConfirmQuit { width(&question(data)) } else { 0 };
    for (index, name, label) in fitting(state, data, end.saturating_sub(x)) {
        let key = FooterKey { index, name, label, x };
        x += key.columns() + GAP;
        keys.push(key);
    }
    keys
}

fn question(data: &ChainSnapshot) -> String {
    let count = |wanted: fn(Phase) -> bool| data.transfers.iter().filter(|t| wanted(t.phase)).count();
    let running = count(|phase| !phase.is_over() && !matches!(phase, Phase::Queued | Phase::Paused));
    let waiting = [(count(|p| p == Phase::Queued), "queued"), (count(|p| p == Phase::Paused), "paused")];
    let waiting: Vec<String> = waiting.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    let are = if running == 1 { "transfer is" } else { "transfers are" };
    match (running, waiting.as_slice()) {
        // The last one has ended since the question was asked.
        (0, []) => "no transfer is running any more: ".to_owned(),
        (0, waiting) => format!("{}: ", waiting.join(", ")),
        (_, []) => format!("{running} {are} running: "),
        (_, waiting) => format!("{running} {are} running, {}: ", waiting.join(", ")),
    }
}

/// Returns whether a binding acts on what another panel lists: its key works here, but those of this panel come first.
fn is_of_other_panel(binding: &Binding, panel: Panel) -> bool {
    match binding.topic {
        _ if binding.panels != Set::MAX || binding.when == Condition::Fetchable => false,
        Topic::Nodes => !matches!(panel, Panel::Hops | Panel::Nodes),
        Topic::Transfers => matches!(panel, Panel::Connections | Panel::Nodes | Panel::Log),
        _ => false,
    }
}

/// Returns the keys at the left that fit this width: from the last on, labels are shortened first, then keys dropped.
fn fitting(state: &UiState, data: &ChainSnapshot, room: u16) -> Vec<(usize, String, &'static str)> {
    let mut bindings: Vec<_> = active(state, data).collect();
    // While nodes or transfers have the focus, their bindings come before general ones.
    let own = match state.focus() {
        Panel::Nodes => Some(Topic::Nodes),
        Panel::Transfers | Panel::Files => Some(Topic::Transfers),
        _ => None,
    };
    bindings.sort_by_key(|(_, binding)| {
        (own.is_some_and(|own| binding.topic != own), is_of_other_panel(binding, state.focus()))
    });
    let mut keys: Vec<(usize, String, &str, &str)> = bindings
        .into_iter()
        .filter_map(|(index, binding)| match binding.place {
            FooterSlot::Left(label, short) => Some((index, state.keymap.name(index), label, short)),
            FooterSlot::Right(_) | FooterSlot::Nowhere => None,
        })
        .filter(|(_, name, ..)| !name.is_empty())
        .collect();
    let needed = |keys: &[(usize, String, &str, &str)]| -> u16 {
        keys.iter().map(|(_, name, label, _)| width(name) + 1 + width(label) + GAP).sum::<u16>().saturating_sub(GAP)
    };
    let mut shrunk = keys.len();
    while needed(&keys) > room && !keys.is_empty() {
        if shrunk > 0 {
            shrunk -= 1;
            keys[shrunk].2 = keys[shrunk].3;
        } else {
            keys.pop();
        }
    }
    keys.into_iter().map(|(index, name, label, _)| (index, name, label)).collect()
}
