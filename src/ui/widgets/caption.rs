//! Caption of the demo: the running act of its tour with the keys that help, or the summary of all acts.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use crate::snapshot::{ActCaption, ActOutcome, ChainSnapshot, NamedCause, TourSnapshot};
use crate::ui::action::Action;
use crate::ui::finding::{Finding, sentences};
use crate::ui::keymap::table::TABLE;
use crate::ui::paint::{Row, row_of, width};
use crate::ui::state::UiState;
use crate::ui::theme::StyleRole;
use crate::units::{Bytes, HumanDuration};

/// Keys at the right end of an act's caption, of one with a single row, and of the summary.
const ACT_KEYS: [(&str, &str); 2] = [("tour-next", "next act"), ("tour-stop", "stop")];
const NARROW_KEYS: [(&str, &str); 1] = [("tour-next", "next")];
const OVER_KEYS: [(&str, &str); 2] = [("tour-next", "again"), ("tour-stop", "close")];
/// Columns of the titles in the summary.
const TITLE: u16 = 16;
/// Columns of the times in the summary.
const TIME: u16 = 10;

/// Draws the caption.
pub(crate) fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    match &data.tour {
        Some(TourSnapshot::Act(act)) => draw_act(state, act, area, buffer),
        Some(TourSnapshot::Over(acts)) => draw_summary(state, data, acts, area, buffer),
        None | Some(TourSnapshot::Stopped) => {}
    }
}

/// Returns the action of the key at the right end that is at this place.
pub(crate) fn action_at(state: &UiState, data: &ChainSnapshot, area: Rect, at: Position) -> Option<Action> {
    let (row, keys): (u16, &[(&str, &str)]) = match &data.tour {
        Some(TourSnapshot::Act(_)) if area.height < 2 => (0, &NARROW_KEYS),
        Some(TourSnapshot::Act(_)) => (1, &ACT_KEYS),
        Some(TourSnapshot::Over(_)) => (0, &OVER_KEYS),
        None | Some(TourSnapshot::Stopped) => return None,
    };
    let mut end = area.right().saturating_sub(1);
    for (id, label) in keys.iter().rev().filter(|_| at.y == area.y + row) {
        let name = state.keymap.key_of_id(id);
        let start = end.saturating_sub(width(&name) + 1 + width(label));
        if name.is_empty() || start < area.x + 2 {
            continue;
        }
        if (start..end).contains(&at.x) {
            return TABLE.iter().find(|binding| binding.id == *id).map(|binding| binding.action);
        }
        end = start - 2;
    }
    None
}

fn draw_act(state: &UiState, act: &ActCaption, area: Rect, buffer: &mut Buffer) {
    let style = |role| state.theme.style(role);
    let mut row = Row::new(buffer, row_of(area, 0));
    row.put(state.theme.glyphs.title, style(StyleRole::Title));
    if area.height < 2 {
        put_keys(state, &mut row, &NARROW_KEYS);
        row.put(&format!("{}/{} {}: ", act.number, act.acts, act.title), style(StyleRole::Title));
        put_hint(state, &mut row, if act.hint.is_empty() { &act.text } else { act.hint });
        return;
    }
    row.put_right(&format!("  {}:{:02} ", act.left.as_secs() / 60, act.left.as_secs() % 60), style(StyleRole::Dim));
    if let Some(after) = act.named {
        row.put_right(&format!("  named after {}", HumanDuration(after)), style(StyleRole::Good));
    }
    row.put(&format!("Demo {}/{} {}: ", act.number, act.acts, act.title), style(StyleRole::Title));
    row.put(&act.text, style(StyleRole::Plain));
    let mut row = Row::new(buffer, row_of(area, 1));
    row.put(state.theme.glyphs.title, style(StyleRole::Title));
    put_keys(state, &mut row, &ACT_KEYS);
    if !act.hint.is_empty() {
        row.put("now you: ", style(StyleRole::Title));
        put_hint(state, &mut row, act.hint);
    }
}

fn draw_summary(state: &UiState, data: &ChainSnapshot, acts: &[ActOutcome], area: Rect, buffer: &mut Buffer) {
    let style = |role| state.theme.style(role);
    let named = acts.iter().filter(|act| act.named.is_some()).count();
    let mut row = Row::new(buffer, row_of(area, 0));
    row.put(state.theme.glyphs.title, style(StyleRole::Title));
    put_keys(state, &mut row, &OVER_KEYS);
    row.put(&format!("Demo over: {named} of {} causes named", acts.len()), style(StyleRole::Title));
    for (at, act) in acts.iter().enumerate() {
        let mut row = Row::new(buffer, row_of(area, at + 1));
        row.skip(1).cell(TITLE, act.title, style(StyleRole::Plain));
        let (text, role) = match &act.named {
            Some((cause, after)) => {
                row.put_right(
                    &format!(" after {:>1$} ", HumanDuration(*after), usize::from(TIME) - 7),
                    style(StyleRole::Dim),
                );
                (statement(cause, data, row.room()), StyleRole::Good)
            }
            None if act.skipped => ("skipped before it was named".to_owned(), StyleRole::Dim),
            None => ("not named".to_owned(), StyleRole::Warn),
        };
        row.put(&text, style(role));
    }
    let mut row = Row::new(buffer, row_of(area, acts.len() + 1));
    row.skip(1).put("next: ", style(StyleRole::Title));
    for (id, label) in [("fetch", "fetch"), ("faults", "limits and faults"), ("why", "why"), ("help", "keys")] {
        put_key(state, &mut row, id, label);
    }
    let own = "your own chain: chainview FILE, with a file name and one HOST PORT per line";
    let fits = width(own) <= row.room();
    row.put(if fits { own } else { "own chain: chainview FILE" }, style(StyleRole::Dim));
}

/// Returns how a cause was named, as long as there is room.
fn statement(cause: &NamedCause, data: &ChainSnapshot, room: u16) -> String {
    match cause {
        NamedCause::Verdict(verdict) => {
            let all = sentences(&Finding::Verdict { verdict: *verdict, others: false }, data);
            let fits = all.iter().find(|text| width(text) <= room);
            fits.or(all.last()).cloned().unwrap_or_default()
        }
        NamedCause::Interrupted { hop, resumed_from: Some(from), .. } => {
            format!("hop {hop} down; resumed at {}, verified", Bytes(*from))
        }
        NamedCause::Interrupted { error, resumed_from: None, .. } => error.to_string(),
    }
}

/// Draws text in which `{id}` is the key of that binding.
fn put_hint(state: &UiState, row: &mut Row<'_>, hint: &str) {
    for (at, part) in hint.split(['{', '}']).enumerate() {
        // Every second part is between braces.
        if at % 2 == 1 {
            row.put(&state.keymap.key_of_id(part), state.theme.style(StyleRole::Key));
        } else {
            row.put(part, state.theme.style(StyleRole::Plain));
        }
    }
}

/// Draws keys with their labels at the right end.
fn put_keys(state: &UiState, row: &mut Row<'_>, keys: &[(&str, &str)]) {
    row.put_right(" ", state.theme.style(StyleRole::Plain));
    for (id, label) in keys.iter().rev() {
        let name = state.keymap.key_of_id(id);
        if !name.is_empty() && width(&name) + width(label) + 3 <= row.room() {
            row.put_right(&format!(" {label}"), state.theme.style(StyleRole::Dim));
            row.put_right(&name, state.theme.style(StyleRole::Key));
            row.put_right("  ", state.theme.style(StyleRole::Plain));
        }
    }
}

/// Draws a key with its label, unless it has no key.
fn put_key(state: &UiState, row: &mut Row<'_>, id: &str, label: &str) {
    let name = state.keymap.key_of_id(id);
    if !name.is_empty() {
        row.put(&name, state.theme.style(StyleRole::Key)).skip(1);
        row.put(label, state.theme.style(StyleRole::Dim)).skip(2);
    }
}
