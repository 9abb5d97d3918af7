//! Footer: the keys of active bindings; help and quit keep their position.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::snapshot::ChainSnapshot;
use crate::ui::dispatch::active;
use crate::ui::focus::{Panel, Set};
use crate::ui::keymap::binding::{Binding, Condition, FooterSlot, Topic};
use crate::ui::paint::{Row, width};
use crate::ui::state::{Mode, UiState};
use crate::ui::theme::StyleRole;

const GAP: u16 = 2;

/// Draws the footer. A notice replaces the keys at the left until the next key.
pub(crate) fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    let theme = &state.theme;
    let mut row = Row::new(buffer, area);
    row.skip(1);
    let pinned: Vec<_> = active(state, data)
        .filter_map(|(index, binding)| match binding.place {
            FooterSlot::Right(label) => Some((state.keymap.name(index), label)),
            FooterSlot::Left(..) | FooterSlot::Nowhere => None,
        })
        .collect();
    let needed: u16 = pinned.iter().map(|(name, label)| GAP + width(name) + 1 + width(label)).sum();
    let notice = state.notice.as_deref();
    // A notice that needs the whole row covers the keys at the right.
    if notice.is_none_or(|notice| width(notice) + needed < row.room()) {
        row.put_right(" ", theme.style(StyleRole::Plain));
        for (name, label) in pinned.iter().rev() {
            let label = format!(" {label}");
            row.put_right(&label, theme.style(StyleRole::Dim)).put_right(name, theme.style(StyleRole::Key));
            row.put_right("  ", theme.style(StyleRole::Plain));
        }
    }
    if let Some(notice) = notice {
        row.put(notice, theme.style(StyleRole::Warn));
        return;
    }
    if state.mode == Mode::ConfirmQuit {
        let running = data.transfers.iter().filter(|t| !t.phase.is_over()).count();
        let question = if running == 1 {
            "1 transfer is running: ".to_owned()
        } else {
            format!("{running} transfers are running: ")
        };
        row.put(&question, theme.style(StyleRole::Warn));
    }
    for (name, label) in fitting(state, data, row.room()) {
        row.put(&name, theme.style(StyleRole::Key)).skip(1).put(label, theme.style(StyleRole::Dim)).skip(GAP);
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
fn fitting(state: &UiState, data: &ChainSnapshot, room: u16) -> Vec<(String, &'static str)> {
    let mut bindings: Vec<_> = active(state, data).collect();
    // While nodes or transfers have the focus, their bindings come before general ones.
    let own = match state.focus() {
        Panel::Nodes => Some(Topic::Nodes),
        Panel::Transfers => Some(Topic::Transfers),
        _ => None,
    };
    bindings.sort_by_key(|(_, binding)| {
        (own.is_some_and(|own| binding.topic != own), is_of_other_panel(binding, state.focus()))
    });
    let mut keys: Vec<(String, &str, &str)> = bindings
        .into_iter()
        .filter_map(|(index, binding)| match binding.place {
            FooterSlot::Left(label, short) => Some((state.keymap.name(index), label, short)),
            FooterSlot::Right(_) | FooterSlot::Nowhere => None,
        })
        .filter(|(name, ..)| !name.is_empty())
        .collect();
    let needed = |keys: &[(String, &str, &str)]| -> u16 {
        keys.iter().map(|(name, label, _)| width(name) + 1 + width(label) + GAP).sum::<u16>().saturating_sub(GAP)
    };
    let mut shrunk = keys.len();
    while needed(&keys) > room && !keys.is_empty() {
        if shrunk > 0 {
            shrunk -= 1;
            keys[shrunk].1 = keys[shrunk].2;
        } else {
            keys.pop();
        }
    }
    keys.into_iter().map(|(name, label, _)| (name, label)).collect()
}
